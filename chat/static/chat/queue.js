// Messages that wait for the end of an answer: withdrawing them, and sending them now.

import { announceText, notify, notifyByName, toast } from "./notices.js";
import { Refused, sendQueued, withdrawQueued } from "./requests.js";
import { uiString } from "./ui_strings.js";

// `update` brings the page up to date after a change.
export function startQueue(list, composer, following, update) {
  // The tab was closed after the message was queued, and before it was told so.
  if (composer.sent && textsIn(list).includes(composer.sent.body.query)) composer.forget();
  list.addEventListener("click", async ({ target }) => {
    const button = target.closest("button");
    if (!button) return;
    const text = button.closest(".queued").querySelector(".queued-text").textContent;
    button.disabled = true;
    try {
      if (button.name === "send") {
        await sendQueued(button.value, composer.token);
        await following.settle();
      } else {
        await withdrawQueued(button.value, composer.token);
        composer.text.focus({ preventScroll: true });
        if (composer.text.value) toast(uiString("withdrawn"));
        else {
          composer.fill(text);
          announceText(uiString("withdrawn-here"));
        }
      }
    } catch (error) {
      if (error instanceof Refused) notify(error.message, error.code);
      else notifyByName("not-saved");
      button.disabled = false;
    }
    await update({ type: "queued", conversation: composer.conversation });
  });
}

const textsIn = (list) => [...list.querySelectorAll(".queued-text")].map((each) => each.textContent);
