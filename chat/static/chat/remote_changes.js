// Changes made by other tabs, devices and the terminal: updates the list of conversations and the open one.

import { fetchPageRetrying, swap } from "./refreshing.js";
import { listen } from "./socket.js";

// Changes that come together, such as a new conversation and its first run, cause one update.
const COALESCE_MS = 50;

const TYPES = ["conversation", "run", "run_ended", "anew"];

// `open` is the conversation of this page (conversation.js).
export function followChanges(open) {
  const waiting = [];
  let reading = false;

  function onChange(change) {
    // At the end of a run that this page follows, it updates itself.
    if (!TYPES.includes(change.type) || (change.type === "run_ended" && open.followed.has(change.run))) return;
    waiting.push(change);
    if (!reading) read();
  }

  async function read() {
    reading = true;
    while (waiting.length) {
      await new Promise((resolve) => setTimeout(resolve, COALESCE_MS));
      const changes = waiting.splice(0);
      if (!(changes.some(concernsPage) && (await open.catchUp()))) await readList();
    }
    reading = false;
  }

  function concernsPage({ type, conversation, run }) {
    return type === "anew" || (conversation === open.id && !open.followed.has(run));
  }

  listen({ lastChange, onChange, isSignedIn: () => open.isSignedIn() });
}

// Return the number of the last change that the messages show.
export const lastChange = (page = document) => Number(page.getElementById("messages").dataset.lastChange);

// Update only the list, from the page of a new conversation, which has no messages.
async function readList() {
  const cursor = new URLSearchParams(location.search).get("list");
  const fresh = await fetchPageRetrying(cursor ? `/?list=${cursor}` : "/").catch(() => null);
  if (!fresh) return; // signed out: the socket is closed too, and handles it
  const here = fresh.querySelector(`#conversations a[href="${CSS.escape(location.pathname)}"]`);
  here?.setAttribute("aria-current", "page");
  swap(fresh, ["conversations"]);
}
