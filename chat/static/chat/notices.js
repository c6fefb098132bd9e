// Messages to the user outside the reply: shown, or read aloud by a screen reader.

import { clone, uiNodes, uiString } from "./ui_strings.js";

const part = (id) => document.getElementById(id);
let countdown = 0;
let endCountdown = () => {};

// Show a problem; screen readers read it immediately. `cause`: a refusal's code, for clearNotice.
export const notify = (text, cause = "") => showNotice(cause, text);

export const notifyByName = (name) => showNotice(name, ...uiNodes(name));

function showNotice(cause, ...nodes) {
  stopCountdown();
  if (cause) part("notice").dataset.cause = cause;
  else delete part("notice").dataset.cause;
  part("notice").replaceChildren(...nodes);
}

// Clear the notice; with causes, only if it has one of them, which has gone.
export function clearNotice(...causes) {
  if (!causes.length || causes.includes(part("notice").dataset.cause)) showNotice("");
}

// Another notice ends the wait, too: a retry is allowed then.
function stopCountdown() {
  clearInterval(countdown);
  endCountdown();
  endCountdown = () => {};
}

// Show a temporary problem, and the seconds until a retry is allowed, which are not read aloud.
export function notifyFor(text, seconds, over) {
  const left = document.createElement("span");
  left.ariaHidden = "true";
  const show = () => (left.textContent = ` ${uiString("wait", seconds)}`);
  notify(text);
  part("notice").append(left);
  show();
  countdown = setInterval(() => {
    seconds -= 1;
    if (seconds > 0) return show();
    clearNotice();
  }, 1000);
  endCountdown = over;
}

// Show the state of the connection under the answer; null: hide it.
export const showConnection = (name) => part("connection").replaceChildren(...(name ? uiNodes(name) : []));

// In a call the answer is heard: a screen reader that reads it, too, would speak at the same time.
const isInCall = () => "call" in document.body.dataset;

// Have the answer's state read aloud.
export const announce = (name) => isInCall() || announceText(uiString(name));

export const announceText = (text) => (part("announcer").textContent = text);

const READ_ALOUD_MAX = 600; // characters; of a longer answer only the length is read aloud

// Have the end of an answer read aloud, and the answer, if the user has chosen that.
export function announceEnd(reply) {
  const ending = reply?.querySelector(".ending");
  if (isInCall() && !reply?.querySelector(".broken, .requests")) return;
  const outcome = reply?.querySelector(".requests")?.dataset.says ?? "";
  announceText(`${uiString(ending ? "ended" : "complete")} ${outcome}`.trim());
  if (reply?.querySelector(".broken")) part("alarm").textContent = [ending, ...reply.querySelectorAll(".in-doubt h3")].map((each) => each.textContent).join(" ");
  else if (document.body.dataset.announce === "whole") {
    const text = [...reply?.querySelectorAll(".prose") ?? []].map((each) => each.innerText).join("\n");
    readAloud(text.length <= READ_ALOUD_MAX ? text : uiString("long", text.length));
  }
}

const LOG_MAX = 20;

// Have a part of the answer read aloud.
export function readAloud(text) {
  if (isInCall()) return;
  const line = document.createElement("p");
  line.textContent = text;
  part("log").append(line);
  while (part("log").children.length > LOG_MAX) part("log").firstChild.remove();
}

// Forget what was read aloud: a moderator has hidden it, or a part of it.
export const forgetReadAloud = () => part("log").replaceChildren();

const TOASTS_MAX = 3;
const TOAST_SECONDS = 5;
const ACTION_SECONDS = 15; // to read it, and to reach its button

// Show a short message about an action at the edge of the page, never as the only place of that information.
// An error `stays` until it is closed. `action`: its label and what it does, which closes the toast.
export function toast(text, { stays = false, action = null } = {}) {
  const shown = clone("toast");
  shown.querySelector(".toast-text").textContent = text;
  shown.classList.toggle("stays", stays);
  shown.querySelector(".toast-close").addEventListener("click", () => shown.remove());
  if (action) {
    const button = /** @type {HTMLElement} */ (shown.querySelector(".toast-action"));
    button.hidden = false;
    button.textContent = action.label;
    button.addEventListener("click", () => {
      shown.remove();
      action.run();
    });
  }
  part("toasts").append(shown);
  const excess = part("toasts").children.length - TOASTS_MAX;
  const stayingLast = [...part("toasts").children].sort(
    (a, b) => Number(a.classList.contains("stays")) - Number(b.classList.contains("stays")),
  );
  for (const toRemove of stayingLast.slice(0, Math.max(0, excess))) toRemove.remove();
  if (!stays) setTimeout(() => removeToast(shown), (action ? ACTION_SECONDS : TOAST_SECONDS) * 1000);
}

// Remove the toast, but not while it has the focus or the pointer.
function removeToast(shown) {
  if (shown.matches(":hover, :focus-within")) setTimeout(() => removeToast(shown), 1000);
  else shown.remove();
}
