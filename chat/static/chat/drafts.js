// Drafts in localStorage, one for each member and conversation, until the server has the message.

const DELAY = 300; // milliseconds after the last key
const PREFIX = "parley-draft:";

const ownPrefix = () => `${PREFIX}${document.body.dataset.member}:`;
const keyOf = (conversation) => ownPrefix() + (conversation ?? "new");
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
}

// Drop other members' drafts, and keep this page's last one when it is left.
export function startDrafts() {
  dropDrafts({ others: true });
  addEventListener("pagehide", write);
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
