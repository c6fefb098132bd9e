// Drafts in localStorage, one for each member and conversation, until the server has the message. Each tab has its
// own draft of a new conversation.

import { sleep } from "./backoff.js";
import { newKey } from "./requests.js";

const DELAY = 300; // milliseconds after the last key
const PREFIX = "parley-draft:";
const FILES = ":files"; // at the end of the key of a draft's files

const ownPrefix = () => `${PREFIX}${document.body.dataset.member}:`;
const keyOf = (conversation) => ownPrefix() + (conversation ?? `new:${tab}`);
const CLAIM_MS = 100; // in which other tabs claim their drafts
const tabs = new BroadcastChannel("parley-tabs");
const newTab = () => `${Date.now()}-${newKey()}`;
let tab = withStorage(() => (sessionStorage.parleyTab ??= newTab()));
const claimed = askTabs();
let timer = 0;
let unsaved = null;

export const readDraft = (conversation) => withStorage(() => localStorage.getItem(keyOf(conversation))) ?? "";

export function keepDraft(conversation, text) {
  clearTimeout(timer);
  unsaved = [conversation, text];
  timer = setTimeout(write, DELAY);
}

export function dropDraft(conversation) {
  clearTimeout(timer);
  unsaved = null;
  withStorage(() => localStorage.removeItem(keyOf(conversation)));
  keepFiles(conversation, []);
  keepSent(conversation, null);
}

// Keep the files of a draft: their ids, names and sizes. Their bytes are on the server, or lost with the page.
export function keepFiles(conversation, files) {
  const key = keyOf(conversation) + FILES;
  withStorage(() => (files.length ? localStorage.setItem(key, JSON.stringify(files)) : localStorage.removeItem(key)));
}

export const readFiles = (conversation) => JSON.parse(withStorage(() => localStorage.getItem(keyOf(conversation) + FILES)) ?? "[]");

// Keep an ask that is on its way, with its key: if the page is left before the answer, sending the draft again
// repeats the same ask. null: it was answered.
export function keepSent(conversation, sent) {
  write();
  if (!conversation) return; // a new conversation's draft may be taken by another tab
  const key = `${keyOf(conversation)}:sent`;
  withStorage(() => (sent ? localStorage.setItem(key, JSON.stringify(sent)) : localStorage.removeItem(key)));
}

export const readSent = (conversation) =>
  conversation ? JSON.parse(withStorage(() => localStorage.getItem(`${keyOf(conversation)}:sent`)) ?? "null") : null;

// Offer `take` the newest draft of a new conversation whose tab was closed. `take` returns whether it took it.
export async function offerOrphan(take) {
  const isNew = (key) => key.startsWith(`${ownPrefix()}new`) && !key.endsWith(FILES);
  const orphans = (withStorage(() => Object.keys(localStorage).filter(isNew)) ?? []).sort();
  const others = await claimed;
  const key = orphans.filter((orphan) => !others.has(orphan)).at(-1);
  withStorage(() => key && take(localStorage.getItem(key)) && localStorage.removeItem(key));
}

// Drop other members' drafts, and keep this page's last one when it is left.
export async function startDrafts() {
  dropDrafts({ others: true });
  tabs.addEventListener("message", ({ data }) => data === "who" && tabs.postMessage(keyOf()));
  addEventListener("pagehide", write);
  if ((await claimed).has(keyOf())) leaveOriginal();
}

// Resolve to the keys of the drafts that other tabs hold.
async function askTabs() {
  const keys = new Set();
  tabs.addEventListener("message", ({ data }) => keys.add(data));
  tabs.postMessage("who");
  await sleep(CLAIM_MS);
  return keys;
}

// A browser that duplicates a tab copies its sessionStorage. Take a key of one's own, with a copy of the draft.
function leaveOriginal() {
  const text = readDraft();
  withStorage(() => {
    tab = sessionStorage.parleyTab = newTab();
    if (text && !unsaved) localStorage.setItem(keyOf(), text);
  });
}

// Remove all drafts, or only those of other members.
export function dropDrafts({ others = false } = {}) {
  withStorage(() => {
    for (const key of Object.keys(localStorage)) {
      if (key.startsWith(PREFIX) && !(others && key.startsWith(ownPrefix()))) localStorage.removeItem(key);
    }
  });
}

function write() {
  clearTimeout(timer);
  if (!unsaved) return;
  const [conversation, text] = unsaved;
  unsaved = null;
  const key = keyOf(conversation);
  withStorage(() => (text ? localStorage.setItem(key, text) : localStorage.removeItem(key)));
}

// Storage may be missing or full: then a draft is lost with its page.
function withStorage(use) {
  try {
    return use();
  } catch (error) {
    if (!(error instanceof DOMException)) throw error;
    return null;
  }
}
