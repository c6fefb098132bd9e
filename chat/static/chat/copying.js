// Buttons that copy an answer's Markdown, copy code, and wrap its lines.

import { announce, toast } from "./notices.js";
import { uiString } from "./ui_strings.js";

const COPIED_SECONDS = 1.5;

// Stored HTML is the same in every language, so its buttons get their labels here, before they are shown.
export function addCodeButtons(root) {
  for (const copy of root.querySelectorAll("figure.code .copy[hidden]")) {
    copy.hidden = false;
    copy.textContent = uiString("copy");
    const wrap = document.createElement("button");
    wrap.type = "button";
    wrap.className = "wrap";
    wrap.textContent = uiString("wrap");
    wrap.setAttribute("aria-pressed", "false");
    copy.before(wrap);
  }
  return root;
}

export function startCopying(messages) {
  addCodeButtons(messages);
  messages.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button?.matches(".copy")) copyCode(button);
    else if (button?.matches(".wrap")) button.ariaPressed = String(button.ariaPressed !== "true");
  });
  messages.addEventListener("submit", (event) => {
    if (!event.target.matches(".copy-message")) return;
    event.preventDefault();
    copyMessage(event.target);
  });
}

export function copyLastCode() {
  const button = [...document.querySelectorAll("#messages figure.code .copy")].at(-1);
  if (button) copyCode(button);
}

export function copyLastAnswer() {
  const form = [...document.querySelectorAll("#messages .assistant .copy-message")].at(-1);
  if (form) copyMessage(form);
}

async function copyCode(button) {
  // without the last line end: a terminal would run what is pasted
  const code = button.closest("figure").querySelector("code").textContent.replace(/\n$/, "");
  if (!(await copy(Promise.resolve(code)))) return;
  announce("copied-code");
  button.textContent = uiString("copied");
  button.dataset.copied = "true";
  setTimeout(() => {
    button.textContent = uiString("copy");
    delete button.dataset.copied;
  }, COPIED_SECONDS * 1000);
}

async function copyMessage(form) {
  if (await copy(fetchText(form.action))) toast(uiString("copied-message"));
}

async function fetchText(address) {
  const response = await fetch(address);
  if (!response.ok) throw new TypeError(response.statusText);
  return await response.text();
}

// Browsers allow copying only during a user's action, so call the clipboard immediately, with a promise of the text.
async function copy(text) {
  try {
    if (navigator.clipboard) {
      const blob = text.then((found) => new Blob([found], { type: "text/plain" }));
      await navigator.clipboard.write([new ClipboardItem({ "text/plain": blob })]);
    } else copyFromField(await text);
    return true;
  } catch {
    toast(uiString("not-copied"), { stays: true }); // the browser refused, or the text could not be fetched
    return false;
  }
}

// Over plain HTTP from another machine there is no navigator.clipboard, only execCommand.
function copyFromField(text) {
  const field = document.createElement("textarea");
  const focused = /** @type {HTMLElement} */ (document.activeElement);
  field.value = text;
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  focused?.focus();
  if (!done) throw new TypeError("refused");
}
