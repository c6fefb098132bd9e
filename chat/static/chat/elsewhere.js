// What other tabs, devices and the terminal do appears here: in the list of conversations, and in the one
// that is open.

import { fetchPagePatiently, swap } from "./refreshing.js";
import { listen } from "./socket.js";

// What comes together, such as a new conversation and its first run, is read once.
const GATHER_MILLISECONDS = 50;

const KNOWN = ["conversation", "run", "run_ended", "anew"];

// `page` says which conversation() is open and which run it owns(run), itself asked for or followed: such
// a run brings its own end. It reads itself anew by catchUp(), and tells that somebody isSignedIn().
export function followElsewhere(page) {
  let waiting = [];
  let reading = false;

  function told(change) {
    // What this page follows itself it settles itself.
    if (!KNOWN.includes(change.type) || (change.type === "run_ended" && page.owns(change.run))) return;
    waiting.push(change);
    if (!reading) read();
  }

  async function read() {
    reading = true;
    while (waiting.length) {
      await new Promise((resolve) => setTimeout(resolve, GATHER_MILLISECONDS));
      const changes = waiting.splice(0);
      if (!(changes.some(concernsPage) && (await page.catchUp()))) await readList();
    }
    reading = false;
  }

  function concernsPage({ type, conversation, run }) {
    return type === "anew" || (conversation === page.conversation() && !(run && page.owns(run)));
  }

  listen({ after: lastChange, told, signedOut: page.isSignedIn });
}

// The number of the last change that the messages show.
export const lastChange = (page = document) => Number(page.getElementById("messages").dataset.lastChange);

// The list alone: from the page of a new conversation, which holds no messages.
async function readList() {
  const cursor = new URLSearchParams(location.search).get("list");
  const fresh = await fetchPagePatiently(() => {}, cursor ? `/?list=${cursor}` : "/").catch(() => null);
  if (!fresh) return; // signed out: the socket ends as well, and tells
  const open = fresh.querySelector(`#conversations a[href="${CSS.escape(location.pathname)}"]`);
  open?.setAttribute("aria-current", "page");
  swap(fresh, ["conversations"]);
}
