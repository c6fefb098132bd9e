// Update of the page in place from the server's current page, as a reload would show it.

import { mergeList } from "./conversations.js";
import { addCodeButtons } from "./copying.js";
import { morph, takeAttributes } from "./morph.js";
import { forgetReadAloud, notifyByName, showConnection } from "./notices.js";
import { fetchPageRetrying } from "./requests.js";

// ids of the parts around the messages
export const AROUND = ["conversations", "pane-title", "pane-actions", "message-forms", "waiting-link", "queue", "standing"];

// Resolve to null if the user is signed out or the page is gone; a notice says which.
export async function fetchOrGiveUp(address, lost) {
  try {
    return await fetchPageRetrying(address, lost);
  } catch (error) {
    giveUp(error.status);
    return null;
  }
}

export function giveUp(status) {
  document.body.dataset.state = "idle";
  showConnection(null);
  notifyByName(status === 401 ? "signed-out" : "gone");
  // nothing tells the page when the answers end
  for (const busy of document.querySelectorAll("[aria-busy]")) busy.removeAttribute("aria-busy");
  for (const sign of document.querySelectorAll(".answering-mark, .reply-waiting")) sign.remove();
}

// Replace the parts of this page with these ids by those of `fresh`; by default all parts with data-swap.
export function swap(fresh, ids = [...document.querySelectorAll("[data-swap]")].map((part) => part.id)) {
  for (const id of ids) {
    const [here, there] = [document.getElementById(id), fresh.getElementById(id)];
    if (!here || !there) continue;
    if (id === "conversations") {
      mergeList(there);
      continue;
    }
    if (here.querySelector(".rename-form")) continue;
    takeAttributes(here, there);
    if (id === "messages") takeMessages(here, there, fresh);
    else morph(here, there);
  }
}

// `there` has only the newest messages: keep the older ones above them.
function takeMessages(here, there, fresh) {
  for (const parent of [here, there]) removeWhitespace(parent);
  const first = there.firstElementChild?.id;
  const above = Math.max(0, [...here.children].findIndex((message) => first && message.id === first));
  takeHidden(there);
  if (above === 0) morph(document.getElementById("older"), fresh.getElementById("older"));
  morph(here, addCodeButtons(there), above);
}

// Put tombstones in place of the messages that moderators have hidden, also where a form is open. Their elements stay
// in `there`.
export function takeHidden(there) {
  for (const hidden of there.querySelectorAll("[data-hidden]")) {
    const here = document.getElementById(hidden.id);
    if (!here || here.hasAttribute("data-hidden")) continue;
    here.replaceWith(hidden.cloneNode(true));
    forgetReadAloud();
  }
}

// Remove the template's whitespace between messages.
function removeWhitespace(parent) {
  for (const node of [...parent.childNodes]) if (node.nodeType === Node.TEXT_NODE) node.remove();
}
