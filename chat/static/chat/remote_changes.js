// Changes made by other tabs, devices and the terminal: updates the list of conversations and the open one.

import { isExpecting, noticeEnd } from "./attention.js";
import { sleep } from "./backoff.js";
import { clearNotice } from "./notices.js";
import { readList } from "./conversations.js";
import { AROUND, fetchOrGiveUp, swap, takeHidden } from "./refreshing.js";
import { listen } from "./socket.js";

// Changes that come together, such as a new conversation and its first run, cause one update.
const COALESCE_MS = 50;

// Return the function that brings the page up to date after a change, and resolves when it is.
export function startRemoteChanges(composer, following) {
  const waiting = [];
  let reading = null;

  function onChange(change) {
    if (change.type === "run_ended") {
      noticeEnd(change);
      if (following.followed.has(change.run)) return; // at its end, this page updates itself
    }
    waiting.push(change);
    reading ??= read();
    return reading;
  }

  async function read() {
    while (waiting.length) {
      await sleep(COALESCE_MS);
      const changes = waiting.splice(0);
      const isAnew = changes.some((change) => change.type === "anew");
      // what waits for the member's groups is of no conversation of theirs
      const named = new Set(changes.map((change) => change.conversation).filter(Boolean));
      if (isAnew || named.size) await readList(isAnew ? undefined : [...named]);
      if (changes.some(concernsPage)) await catchUp({ isDecision: changes.some(({ type }) => type === "decision") });
    }
    reading = null;
  }

  function concernsPage({ type, conversation, run }) {
    const isForGroups = type === "waiting" && !conversation;
    return type === "anew" || type === "decision" || isForGroups || (conversation === composer.conversation && !following.followed.has(run));
  }

  // Resolve to whether the page is now up to date. While this page asks or follows a run, the messages are
  // not touched, unless another branch was chosen: the end of the run updates them.
  async function catchUp({ isDecision }) {
    const address = location.href;
    const fresh = await (isDecision ? fetchAllShown() : fetchOrGiveUp());
    // Too late: another conversation is open by now, or the page shows something newer.
    if (!fresh || address !== location.href || lastChange(fresh) < lastChange()) return false;
    document.title = fresh.title;
    const isElsewhere = fresh.body.dataset.state === "answering" && !fresh.querySelector(".live");
    if (!following.isBusy || (following.leave && isElsewhere)) following.show(fresh);
    else {
      swap(fresh, AROUND);
      takeHidden(fresh.getElementById("messages"));
    }
    return true;
  }

  // Resolve to the server's page with all messages that this page shows: also the older ones that were loaded on
  // scrolling, which may be hidden by now.
  async function fetchAllShown() {
    const fresh = await fetchOrGiveUp();
    const first = document.querySelector("#messages > [id]")?.id;
    if (!fresh || !first || fresh.getElementById(first)) return fresh;
    const whole = await fetchOrGiveUp(`?version=${first.slice(2)}`);
    if (!whole || whole.getElementById("composer")) return whole;
    location.reload(); // too far above the end
    return null;
  }

  const onOpen = () => clearNotice("offline", "unreachable");
  listen({ lastChange, onChange, onOpen, isSignedIn: async () => (await fetchOrGiveUp("/")) !== null, isExpecting });
  return onChange;
}

// Return the number of the last change that the messages show.
const lastChange = (page = document) => Number(page.getElementById("messages").dataset.lastChange);
