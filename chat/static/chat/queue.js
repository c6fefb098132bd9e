// Messages that wait for the end of an answer: withdrawing them, and sending them now.

import { announceText, notify, notifyByName, toast } from "./notices.js";
import { Refused, sendQueued, withdrawQueued } from "./requests.js";
import { uiString } from "./ui_strings.js";
import { filesIn } from "./versions.js";

// `update` brings the page up to date after a change.
export function startQueue(list, composer, following, update) {
  // The tab was closed after the message was queued, and before it was told so.
  if (composer.sent && keysIn(list).includes(keyOf(composer.sent.body.query, composer.sent.body.files ?? []))) composer.forget();
  list.addEventListener("click", async ({ target }) => {
    const button = target.closest("button");
    if (!button) return;
    const { text, files } = contentOf(button.closest(".queued"));
    button.disabled = true;
    try {
      if (button.name === "send") {
        await sendQueued(button.value, composer.token);
        await following.settle();
      } else {
        await withdrawQueued(button.value, composer.token);
        composer.text.focus({ preventScroll: true });
        if (composer.text.value || composer.attachments.all.length) toast(uiString("withdrawn"));
        else {
          composer.fill(text, files);
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

const contentOf = (queued) => ({ text: queued.querySelector(".queued-text")?.textContent ?? "", files: filesIn(queued) });

const keyOf = (text, files) => [text, ...files].join("\n");

const keysIn = (list) =>
  [...list.querySelectorAll(".queued")].map(contentOf).map(({ text, files }) => keyOf(text, files.map(({ file }) => file)));
