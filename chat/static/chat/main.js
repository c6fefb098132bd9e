// The page comes alive: asking, following and stopping without leaving it.

import { Composer } from "./composer.js";
import { LiveConversation } from "./conversation.js";
import { startCopying } from "./copying.js";
import { dropDrafts } from "./drafts.js";
import { followElsewhere } from "./elsewhere.js";
import { startKeys } from "./keys.js";
import { clearNotice, notifyWord } from "./notices.js";
import { bringOlder } from "./older.js";
import { openDialog, startPanels } from "./panels.js";
import { startPreferences } from "./preferences.js";
import { View } from "./scrolling.js";

const part = (id) => document.getElementById(id);
const view = new View(part("main"), part("jump"));
const composer = new Composer((text) => conversation.askQuery(text));
const conversation = new LiveConversation(part("messages"), composer, view);

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.id === "sign-out") dropDrafts();
  else if (form.id === "stop") {
    event.preventDefault();
    conversation.stopRun();
  } else if (form.matches(".again")) {
    event.preventDefault();
    conversation.askAgain(form);
  } else if (form.matches(".suggestions")) {
    event.preventDefault();
    composer.fill(event.submitter.value);
  }
});
part("show-keys").addEventListener("click", () => openDialog("keys-list"));

addEventListener("offline", () => notifyWord("offline"));
addEventListener("online", clearNotice);

// Back and forward lead to another page, also while this one was loading and no script heard of it; one that
// was kept in memory is no longer true.
function showWhatIsAddressed() {
  const addressed = /\/chat\/([0-9a-f-]{36})\//.exec(location.pathname)?.[1] ?? null;
  if (addressed !== composer.conversation) location.reload();
}
addEventListener("popstate", showWhatIsAddressed);
addEventListener("pageshow", (event) => event.persisted && location.reload());

showWhatIsAddressed();
dropDrafts({ others: true });
startPanels();
startPreferences();
startCopying(part("messages"));
startKeys(() => conversation.stopRun());
view.begin();
bringOlder(part("main"), part("messages"), part("older"));
conversation.followActive();
followElsewhere(conversation);
