// Decisions about what waits for a person: the form is sent without a page load.

import { announceText, notify, notifyByName, toast } from "./notices.js";
import { fetchPage } from "./requests.js";
import { uiString } from "./ui_strings.js";

// Send the form, and show the page, whose new run goes on. What was typed stays after a refusal.
export async function sendAnswers(form, button, following) {
  if (document.body.dataset.state !== "idle") return notifyByName("decide-later");
  const body = new FormData(form, button);
  document.body.dataset.state = "asking";
  const hadFocus = form.contains(document.activeElement);
  const fresh = await fetchPage(form.action, { method: "POST", body }).catch((error) => error);
  document.body.dataset.state = "idle";
  if (fresh instanceof Error) {
    // It may have been decided in another tab: show what happened. What was typed stays.
    await following.settle();
    if (fresh.message) notify(fresh.message);
    else toast(uiString("not-saved"), { stays: true });
    return following.view.toEnd();
  }
  following.show(fresh);
  const said = [...following.messages.querySelectorAll("article.user .bubble")].at(-1);
  announceText(`${said.textContent}. ${uiString("answering")}`);
  // Its buttons are gone, and so is the focus.
  if (hadFocus) document.getElementById("query").focus({ preventScroll: true });
  following.view.toEnd();
}
