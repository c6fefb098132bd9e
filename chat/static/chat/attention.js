// Signs for a user who looks elsewhere that an answer is written, or has ended: in the tab's title, and, if the
// user has chosen that, as a notification with the conversation's title.

import { uiString } from "./ui_strings.js";

// The time in which a visible tab of this browser can say that the user sees the end.
const SEEN_MS = 2000;

const known = new Set(); // runs whose end was counted or seen
const waiting = new Map(); // run: timer, until it is counted
const others = new BroadcastChannel("parley-seen");
let unseen = 0;
let plain = document.title;
let shown = document.title;

export function startAttention() {
  const changed = new MutationObserver(showSign);
  changed.observe(document.head.querySelector("title"), { childList: true });
  changed.observe(document.body, { attributeFilter: ["data-state"] });
  others.onmessage = ({ data }) => setSeen(data);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) tellSeen([...waiting.keys()]);
  });
  showSign();
}

// Return whether a hidden tab must hear of ended runs.
export const isExpecting = () => document.body.dataset.state !== "idle" || mayShow();

// Count the end of a run, unless the user sees it here or in another tab.
export function noticeEnd({ run, conversation }) {
  if (known.has(run)) return;
  known.add(run);
  if (!document.hidden || "call" in document.body.dataset) return tellSeen([run]); // seen, or heard
  waiting.set(run, setTimeout(count, SEEN_MS, run, conversation));
}

// Resolve to whether the browser shows notifications of this page; it may ask the user.
export async function askToNotify() {
  return "Notification" in window && (await Notification.requestPermission()) === "granted";
}

const mayShow = () =>
  document.body.dataset.notify === "on" && "Notification" in window && Notification.permission === "granted";

function tellSeen(runs) {
  setSeen(runs);
  others.postMessage(runs);
}

function setSeen(runs) {
  for (const run of runs) {
    known.add(run);
    clearTimeout(waiting.get(run));
    waiting.delete(run);
  }
  unseen = 0;
  showSign();
}

function count(run, conversation) {
  waiting.delete(run);
  unseen += 1;
  showSign();
  if (mayShow()) notifyOf(run, `/chat/${conversation}/`);
}

// The tag makes one notification of those of all tabs.
function notifyOf(run, address) {
  const link = document.querySelector(`#conversations a[href="${CSS.escape(address)}"]`);
  const title = link?.textContent.trim() || uiString("complete");
  try {
    const notification = new Notification(title, { tag: run, body: uiString("complete") });
    notification.onclick = () => {
      focus();
      notification.close();
      if (location.pathname !== address) location.assign(address);
    };
  } catch {
    // Android's Chromium shows notifications of service workers only.
  }
}

// Others set the title too: what they set is the plain one.
function showSign() {
  if (document.title !== shown) plain = document.title;
  const asks = document.querySelector(".requests") ? "❓ " : "";
  const sign = unseen ? `(${unseen}) ` : document.body.dataset.state === "idle" ? asks : "… ";
  if (document.title === sign + plain) return; // setting it again would call this again
  document.title = sign + plain;
  shown = document.title;
}
