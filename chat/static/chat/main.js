// Entry point: connects the modules, so that asking, following and stopping work without a page load.

import { Asking } from "./asking.js";
import { Composer } from "./composer.js";
import { startCopying } from "./copying.js";
import { dropDrafts, startDrafts } from "./drafts.js";
import { Following } from "./following.js";
import { startKeys } from "./keys.js";
import { clearNotice, notifyByName } from "./notices.js";
import { startOlderMessages } from "./older_messages.js";
import { openDialog, startPanels } from "./panels.js";
import { startPreferences } from "./preferences.js";
import { startRemoteChanges } from "./remote_changes.js";
import { View } from "./scrolling.js";
import { startSteps } from "./steps.js";

const part = (id) => document.getElementById(id);
const view = new View(part("main"), part("jump"));
const composer = new Composer((text) => asking.askQuery(text));
const following = new Following(part("messages"), view);
const asking = new Asking(part("messages"), composer, view, following);

document.addEventListener("submit", (event) => {
  const form = /** @type {HTMLFormElement} */ (event.target);
  if (form.id === "sign-out") dropDrafts();
  else if (form.id === "stop") {
    event.preventDefault();
    asking.stopRun();
  } else if (form.matches(".ask-again")) {
    event.preventDefault();
    asking.askAgain(form);
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
startKeys(() => asking.stopRun());
view.begin();
startOlderMessages(part("main"), part("messages"), part("older"));
following.followActive();
startRemoteChanges(composer, following);
