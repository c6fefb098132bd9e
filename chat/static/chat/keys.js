// Keyboard shortcuts, as in other chat programs. On a Mac, Cmd takes the place of Ctrl.

import { copyLastAnswer, copyLastCode } from "./copying.js";
import { openDialog, showSidebar, toggleSidebar } from "./panels.js";

const focus = (id) => document.getElementById(id).focus();

const SHORTCUTS = {
  "Ctrl+k": () => {
    showSidebar();
    focus("find");
  },
  "Ctrl+Shift+o": () => document.getElementById("new").click(),
  "Ctrl+Shift+s": toggleSidebar,
  "Shift+escape": () => focus("query"),
  "Ctrl+.": () => /** @type {HTMLElement} */ (document.querySelector(".request"))?.focus(),
  "Ctrl+Shift+c": copyLastAnswer,
  "Ctrl+Shift+;": copyLastCode,
  "Ctrl+Shift+:": copyLastCode, // the same key on layouts where Shift changes the character
  "Ctrl+/": () => openDialog("keys-list"),
  "Alt+arrowup": () => goToMessage(-1),
  "Alt+arrowdown": () => goToMessage(1),
};

const PLACES = { Semicolon: ";", Slash: "/" };
const isMac = /^(Mac|iP)/.test(navigator.platform);

// `stop` is called to stop the answer being written.
export function startKeys(stop) {
  /** @type {NodeListOf<HTMLElement>} */
  const named = document.querySelectorAll("[title*=Ctrl]");
  if (isMac) for (const each of named) each.title = each.title.replace("Ctrl", "⌘");
  document.addEventListener("keydown", (event) => {
    if (event.isComposing || document.querySelector("dialog[open]")) return;
    const key = shortcutOf(event);
    if (key === "escape" && /** @type {Element} */ (event.target).id === "query") return stop();
    if (!SHORTCUTS[key]) return;
    event.preventDefault();
    SHORTCUTS[key]();
  });
}

// On a Mac, Ctrl and Alt with a key belong to the text field: Ctrl+K deletes a line, Alt+↑ moves the caret.
function shortcutOf(event) {
  if (isMac && (event.ctrlKey || (event.altKey && /** @type {Element} */ (event.target).matches("input, textarea")))) return "";
  const command = isMac ? event.metaKey : event.ctrlKey;
  const held = [command && "Ctrl", event.altKey && "Alt", event.shiftKey && "Shift"];
  return [...held.filter(Boolean), keyOf(event)].join("+");
}

// On a layout without Latin letters, a key is named by its place.
function keyOf({ key, code }) {
  const place = key.length === 1 && key > "~" ? PLACES[code] ?? /^Key(.)$/.exec(code)?.[1] : null;
  return (place ?? key).toLowerCase();
}

// Go to the message before or after the one that has the focus, or that is in view.
function goToMessage(by) {
  const messages = /** @type {HTMLElement[]} */ ([...document.querySelectorAll("#messages > article")]);
  const top = document.getElementById("main").getBoundingClientRect().top;
  let at = messages.indexOf(document.activeElement.closest?.("article"));
  if (at < 0) at = by < 0 ? messages.length : messages.findIndex((message) => message.getBoundingClientRect().top >= top) - 1;
  const message = messages[Math.min(Math.max(at + by, 0), messages.length - 1)];
  message?.focus({ preventScroll: true });
  message?.scrollIntoView({ block: "start", behavior: "instant" });
}
