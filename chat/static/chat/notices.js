// What the page tells the person, outside the reply: seen, or read aloud.

import { build, sentence, word } from "./words.js";

const part = (id) => document.getElementById(id);
let countdown = 0;

// A problem: seen, and read aloud at once.
export function notify(text) {
  clearInterval(countdown);
  part("notice").replaceChildren(text);
}

export function notifyWord(name) {
  clearInterval(countdown);
  part("notice").replaceChildren(...sentence(name));
}

export function clearNotice() {
  clearInterval(countdown);
  part("notice").replaceChildren();
}

// A problem that passes: `text`, and the seconds until one may try again, which are not read aloud.
export function notifyFor(text, seconds, over) {
  const left = document.createElement("span");
  left.ariaHidden = "true";
  const show = () => (left.textContent = ` ${word("wait").replace("%s", seconds)}`);
  notify(text);
  part("notice").append(left);
  show();
  countdown = setInterval(() => {
    seconds -= 1;
    if (seconds > 0) return show();
    clearNotice();
    over();
  }, 1000);
}

// How the connection is: quiet, under the answer.
export const tellConnection = (name) => part("connection").replaceChildren(...(name ? sentence(name) : []));

// Read aloud only: what the answer does.
export const announce = (name) => (part("announcer").textContent = word(name));

export const alarm = (text) => (part("alarm").textContent = text);

const LOGGED = 20;

// Read aloud only: what the answer says.
export function speak(text) {
  const line = document.createElement("p");
  line.textContent = text;
  part("log").append(line);
  while (part("log").children.length > LOGGED) part("log").firstChild.remove();
}

const MOST = 3;
const SECONDS = 5;

// Short words at the edge of the page about what was just done, never the only place of a message. An error
// `stays` until it is closed.
export function toast(text, { stays = false } = {}) {
  const shown = build("toast");
  shown.querySelector(".toast-text").textContent = text;
  shown.classList.toggle("stays", stays);
  shown.querySelector("button").addEventListener("click", () => shown.remove());
  part("toasts").append(shown);
  const over = part("toasts").children.length - MOST;
  const goers = [...part("toasts").children].sort((a, b) => a.classList.contains("stays") - b.classList.contains("stays"));
  for (const goer of goers.slice(0, Math.max(0, over))) goer.remove();
  if (!stays) setTimeout(() => leave(shown), SECONDS * 1000);
}

// Not while somebody is about to close it, or reads it under the pointer.
function leave(shown) {
  if (shown.matches(":hover, :focus-within")) setTimeout(() => leave(shown), 1000);
  else shown.remove();
}
