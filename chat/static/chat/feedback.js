// Thumbs up and down at the answers, and the reasons for a bad one.

import { toast } from "./notices.js";
import { putFeedback } from "./requests.js";
import { clone, uiString } from "./ui_strings.js";

const idOf = (article) => article.id.slice(2);

async function send(article, feedback, token) {
  try {
    await putFeedback(idOf(article), feedback, token);
    return true;
  } catch {
    toast(uiString("not-saved"), { stays: true });
    return false;
  }
}

// The thumb is pressed immediately, and released if the server cannot be reached. A second press takes it back.
export async function rate(button, token) {
  const article = button.closest("article");
  const thumbs = [...article.querySelectorAll(".rate")];
  const before = thumbs.map((thumb) => thumb.ariaPressed);
  const isOn = button.ariaPressed !== "true";
  for (const thumb of thumbs) thumb.ariaPressed = String(isOn && thumb === button);
  const value = isOn ? Number(button.dataset.value) : null;
  removeForm(article);
  if (value === -1) openForm(article);
  if (await send(article, { value }, token)) return;
  for (const [index, thumb] of thumbs.entries()) thumb.ariaPressed = before[index];
  removeForm(article);
}

export async function sendReasons(form, token) {
  const article = form.closest("article");
  const reasons = [...form.querySelectorAll(":checked")].map((box) => box.name);
  if (!(await send(article, { value: -1, reasons, text: form.elements.text.value }, token))) return;
  close(form);
  toast(uiString("thanks"));
}

function openForm(article) {
  const form = clone("feedback-form");
  article.append(form);
  article.dataset.editing = "feedback";
  form.scrollIntoView({ block: "nearest", behavior: "instant" });
  /** @type {HTMLElement} */ (form.querySelector("[type=checkbox]")).focus({ preventScroll: true });
}

function removeForm(article) {
  article.querySelector(".feedback-form")?.remove();
  delete article.dataset.editing;
}

function close(form) {
  const article = form.closest("article");
  removeForm(article);
  article.querySelector('[data-value="-1"]').focus();
}

export function startFeedback(messages) {
  messages.addEventListener("click", (event) => {
    if (!event.target.closest(".feedback-cancel")) return;
    event.preventDefault();
    close(event.target.closest("form"));
  });
  messages.addEventListener("keydown", (event) => {
    const form = event.target.closest(".feedback-form");
    if (form && event.key === "Escape") close(form);
  });
}
