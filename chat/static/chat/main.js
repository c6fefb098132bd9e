// Entry point: connects the modules, so that asking, following and stopping work without a page load.

import { Composer } from "./composer.js";
import { LiveConversation } from "./conversation.js";
import { startCopying } from "./copying.js";
import { dropDrafts, startDrafts } from "./drafts.js";
import { startKeys } from "./keys.js";
import { clearNotice, notifyByName } from "./notices.js";
import { loadOlder } from "./older_messages.js";
import { openDialog, startPanels } from "./panels.js";
import { startPreferences } from "./preferences.js";
import { followChanges } from "./remote_changes.js";
import { View } from "./scrolling.js";
import { startSteps } from "./steps.js";

const part = (id) => document.getElementById(id);
const view = new View(part("main"), part("jump"));
const composer = new Composer((text) => conversation.askQuery(text));
const conversation = new LiveConversation(part("messages"), composer, view);

document.addEventListener("submit", (event) => {
  const form = /** @type {HTMLFormElement} */ (event.target);
  if (form.id === "sign-out") dropDrafts();
  else if (form.id === "stop") {
    event.preventDefault();
    conversation.stopRun();
  } else if (form.matches(".ask-again")) {
    event.preventDefault();
    conversation.askAgain(form);
  } else if (form.matches(".suggestions")) {
    event.preventDefault();
    composer.fill(/** @type {HTMLButtonElement} */ (event.submitter).value);
  }
});
part("show-keys").addEventListener("click", () => openDialog("keys-list"));

addEventListener("offline", () => notifyByName("offline"));
addEventListener("online", clearNotice);

// Reload if Back or Forward changed the address, even while this page was loading. A page from the browser's
// back/forward cache is outdated, so reload it too.
function reloadIfMoved() {
  const inAddress = /\/chat\/([0-9a-f-]{36})\//.exec(location.pathname)?.[1];
  if (inAddress !== composer.conversation) location.reload();
}
addEventListener("popstate", reloadIfMoved);
addEventListener("pageshow", (event) => event.persisted && location.reload());

reloadIfMoved();
startDrafts();
startPanels();
startPreferences();
startCopying(part("messages"));
startSteps();
startKeys(() => conversation.stopRun());
view.begin();
loadOlder(part("main"), part("messages"), part("older"));
conversation.followActive();
followChanges(conversation);
