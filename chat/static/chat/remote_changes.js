// Changes made by other tabs, devices and the terminal: updates the list of conversations and the open one.

import { sleep } from "./backoff.js";
import { AROUND, fetchOrGiveUp, swap } from "./refreshing.js";
import { fetchPageRetrying } from "./requests.js";
import { listen } from "./socket.js";

// Changes that come together, such as a new conversation and its first run, cause one update.
const COALESCE_MS = 50;

export function startRemoteChanges(composer, following) {
  const waiting = [];
  let reading = false;

  function onChange(change) {
    // At the end of a run that this page follows, it updates itself.
    if (change.type === "run_ended" && following.followed.has(change.run)) return;
    waiting.push(change);
    if (!reading) read();
  }

  async function read() {
    reading = true;
    while (waiting.length) {
      await sleep(COALESCE_MS);
      const changes = waiting.splice(0);
      if (!(changes.some(concernsPage) && (await catchUp()))) await readList();
    }
    reading = false;
  }

  function concernsPage({ type, conversation, run }) {
    return type === "anew" || (conversation === composer.conversation && !following.followed.has(run));
  }

  // Resolve to whether the page is now up to date. While this page asks or follows a run, the messages are
  // not touched: the end of the run updates them.
  async function catchUp() {
    const address = location.href;
    const fresh = await fetchOrGiveUp();
    // Too late: another conversation is open by now, or the page shows something newer.
    if (!fresh || address !== location.href || lastChange(fresh) < lastChange()) return false;
    document.title = fresh.title;
    if (document.body.dataset.state === "idle") following.show(fresh);
    else swap(fresh, AROUND);
    return true;
  }

  listen({ lastChange, onChange, isSignedIn: async () => (await fetchOrGiveUp("/")) !== null });
}

// Return the number of the last change that the messages show.
const lastChange = (page = document) => Number(page.getElementById("messages").dataset.lastChange);

// Update only the list, from the page of a new conversation, which has no messages.
async function readList() {
  const cursor = new URLSearchParams(location.search).get("list");
  const fresh = await fetchPageRetrying(cursor ? `/?list=${cursor}` : "/").catch(() => null);
  if (!fresh) return; // signed out: the socket is closed too, and handles it
  const here = fresh.querySelector(`#conversations a[href="${CSS.escape(location.pathname)}"]`);
  here?.setAttribute("aria-current", "page");
  swap(fresh, ["conversations"]);
}
