// What other tabs, devices and the terminal do appears here: in the list of conversations, and in the one
// that is open.

import { fetchPagePatiently, swap } from "./refreshing.js";
import { listen } from "./socket.js";

// What comes together, such as a new conversation and its first run, is read once.
const GATHER_MILLISECONDS = 50;

const KNOWN = ["conversation", "run", "run_ended", "anew"];

// `open` is the conversation of this page (conversation.js).
export function followElsewhere(open) {
  let waiting = [];
  let reading = false;

  function told(change) {
    // What this page follows itself it settles itself.
    if (!KNOWN.includes(change.type) || (change.type === "run_ended" && open.followed.has(change.run))) return;
    waiting.push(change);
    if (!reading) read();
  }

  async function read() {
    reading = true;
    while (waiting.length) {
      await new Promise((resolve) => setTimeout(resolve, GATHER_MILLISECONDS));
      const changes = waiting.splice(0);
      if (!(changes.some(concernsPage) && (await open.catchUp()))) await readList();
    }
    reading = false;
  }

  function concernsPage({ type, conversation, run }) {
    return type === "anew" || (conversation === open.id && !open.followed.has(run));
  }

  listen({ after: lastChange, told, signedOut: () => open.isSignedIn() });
}

// The number of the last change that the messages show.
export const lastChange = (page = document) => Number(page.getElementById("messages").dataset.lastChange);

// The list alone: from the page of a new conversation, which holds no messages.
async function readList() {
  const cursor = new URLSearchParams(location.search).get("list");
  const fresh = await fetchPagePatiently(() => {}, cursor ? `/?list=${cursor}` : "/").catch(() => null);
  if (!fresh) return; // signed out: the socket ends as well, and tells
  const here = fresh.querySelector(`#conversations a[href="${CSS.escape(location.pathname)}"]`);
  here?.setAttribute("aria-current", "page");
  swap(fresh, ["conversations"]);
}
