// What a member has chosen for calls in this browser, such as a microphone. Storage may be missing or full: then it is
// forgotten with the page.

const PREFIX = "parley-call-";

export const chosen = (name) => withStorage(() => localStorage.getItem(PREFIX + name)) ?? "";

export const choose = (name, value) => withStorage(() => localStorage.setItem(PREFIX + name, value));

function withStorage(use) {
  try {
    return use();
  } catch (error) {
    if (!(error instanceof DOMException)) throw error;
    return null;
  }
}
