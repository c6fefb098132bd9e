// What is being written, kept for each conversation until the server has it. Each member's is their own.

const DELAY = 300; // milliseconds behind the last key
const PREFIX = "parley-draft:";

const own = () => `${PREFIX}${document.body.dataset.member}:`;
const name = (conversation) => own() + (conversation ?? "new");
let timer = 0;
let waiting = null;

export const readDraft = (conversation) => guarded(() => localStorage.getItem(name(conversation))) ?? "";

export function keepDraft(conversation, text) {
  clearTimeout(timer);
  waiting = [conversation, text];
  timer = setTimeout(write, DELAY);
}

export function dropDraft(conversation) {
  clearTimeout(timer);
  waiting = null;
  guarded(() => localStorage.removeItem(name(conversation)));
}

// All drafts here, or those of other members.
export function dropDrafts({ others = false } = {}) {
  guarded(() => {
    for (const key of Object.keys(localStorage)) {
      if (key.startsWith(PREFIX) && !(others && key.startsWith(own()))) localStorage.removeItem(key);
    }
  });
}

function write() {
  clearTimeout(timer);
  if (!waiting) return;
  const [conversation, text] = waiting;
  waiting = null;
  guarded(() => (text ? localStorage.setItem(name(conversation), text) : localStorage.removeItem(name(conversation))));
}

// A browser may have no storage, or no room in it: then a draft lives as long as its page.
function guarded(use) {
  try {
    return use();
  } catch (error) {
    if (!(error instanceof DOMException)) throw error;
    return null;
  }
}

addEventListener("pagehide", write);
