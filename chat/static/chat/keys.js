// The keyboard's ways: those that hands know from elsewhere. Cmd is a Mac's Ctrl.

import { copyLastAnswer, copyLastCode } from "./copying.js";
import { openDialog, showSidebar, toggleSidebar } from "./panels.js";

const focus = (id) => document.getElementById(id).focus();

const WAYS = {
  "Ctrl+k": () => {
    showSidebar();
    focus("find");
  },
  "Ctrl+Shift+o": () => document.getElementById("new").click(),
  "Ctrl+Shift+s": toggleSidebar,
  "Shift+escape": () => focus("query"),
  "Ctrl+Shift+c": copyLastAnswer,
  "Ctrl+Shift+;": copyLastCode,
  "Ctrl+Shift+:": copyLastCode, // the same key where Shift changes its sign
  "Ctrl+/": () => openDialog("keys-list"),
  "Alt+arrowup": () => step(-1),
  "Alt+arrowdown": () => step(1),
};

// `stop` stops the answer that is being written.
export function startKeys(stop) {
  document.addEventListener("keydown", (event) => {
    if (event.isComposing || document.querySelector("dialog[open]")) return;
    const key = spelled(event);
    if (key === "escape" && event.target.id === "query") return stop();
    if (!WAYS[key]) return;
    event.preventDefault();
    WAYS[key]();
  });
}

function spelled(event) {
  const held = [(event.ctrlKey || event.metaKey) && "Ctrl", event.altKey && "Alt", event.shiftKey && "Shift"];
  return [...held.filter(Boolean), event.key.toLowerCase()].join("+");
}

// To the message before or after the one that has the focus, or that is in view.
function step(by) {
  const turns = [...document.querySelectorAll("#messages > article")];
  const top = document.getElementById("main").getBoundingClientRect().top;
  let at = turns.indexOf(document.activeElement.closest?.("article"));
  if (at < 0) at = by < 0 ? turns.length : turns.findIndex((turn) => turn.getBoundingClientRect().top >= top) - 1;
  const turn = turns[Math.min(Math.max(at + by, 0), turns.length - 1)];
  turn?.focus({ preventScroll: true });
  turn?.scrollIntoView({ block: "start", behavior: "instant" });
}
