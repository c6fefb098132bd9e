// Copying: an answer as it was written, and code as it is; and its lines wrapped.

import { announce, toast } from "./notices.js";
import { word } from "./words.js";

const COPIED_SECONDS = 1.5;

// Stored HTML knows no language: its buttons get their words here, before they are shown.
export function dress(root) {
  for (const copy of root.querySelectorAll("figure.code .copy[hidden]")) {
    copy.hidden = false;
    copy.textContent = word("copy");
    const wrap = document.createElement("button");
    wrap.type = "button";
    wrap.className = "wrap";
    wrap.textContent = word("wrap");
    wrap.setAttribute("aria-pressed", "false");
    copy.before(wrap);
  }
  return root;
}

export function startCopying(messages) {
  dress(messages);
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
  const code = button.closest("figure").querySelector("code").textContent;
  if (!(await copy(Promise.resolve(code)))) return;
  announce("copied-code");
  button.textContent = word("copied");
  setTimeout(() => (button.textContent = word("copy")), COPIED_SECONDS * 1000);
}

async function copyMessage(form) {
  if (await copy(fetchText(form.action))) toast(word("copied-message"));
}

async function fetchText(address) {
  const response = await fetch(address);
  if (!response.ok) throw new TypeError(response.statusText);
  return await response.text();
}

// A browser copies only at a person's wish: it is asked at once, and given the text when it is there.
async function copy(text) {
  try {
    if (navigator.clipboard) {
      const blob = text.then((found) => new Blob([found], { type: "text/plain" }));
      await navigator.clipboard.write([new ClipboardItem({ "text/plain": blob })]);
    } else copyFromField(await text);
    return true;
  } catch {
    toast(word("not-copied"), { stays: true }); // refused, or the text could not be had
    return false;
  }
}

// Over plain http from another machine there is no clipboard, save by the old way.
function copyFromField(text) {
  const field = document.createElement("textarea");
  const focused = document.activeElement;
  field.value = text;
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  focused?.focus();
  if (!done) throw new TypeError("refused");
}
