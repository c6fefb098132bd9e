// Entry point: connects the modules, so that asking, following and stopping work without a page load.

import { sendAnswers } from "./answers.js";
import { Asking } from "./asking.js";
import { startAttention } from "./attention.js";
import { startCallButton } from "./call_button.js";
import { Composer } from "./composer.js";
import { startConversations } from "./conversations.js";
import { startCopying } from "./copying.js";
import { dropDrafts, startDrafts } from "./drafts.js";
import { rate, sendReasons, startFeedback } from "./feedback.js";
import { startFileCards } from "./file_cards.js";
import { startDropping } from "./files.js";
import { startFilesPanel } from "./files_panel.js";
import { startFolding } from "./folding.js";
import { startEntryMenu } from "./entry_menu.js";
import { Following } from "./following.js";
import { startInPageLinks } from "./in_page_links.js";
import { startKeys } from "./keys.js";
import { startLightbox } from "./lightbox.js";
import { clearNotice, notifyByName } from "./notices.js";
import { startOlderMessages } from "./older_messages.js";
import { openDialog, startPanels } from "./panels.js";
import { saveTimeZone, startPreferences } from "./preferences.js";
import { startQueue } from "./queue.js";
import { startRemoteChanges } from "./remote_changes.js";
import { View } from "./scrolling.js";
import { startSearch } from "./search.js";
import { startSteps } from "./steps.js";
import { chooseVersion, startEdit, startVersions } from "./versions.js";

const part = (id) => document.getElementById(id);
const view = new View(part("main"), part("jump"));
const composer = new Composer((text) => asking.askQuery(text), (text, interrupts) => asking.queueQuery(text, interrupts));
const following = new Following(part("messages"), view);
const asking = new Asking(part("messages"), composer, view, following);

document.addEventListener("submit", (event) => {
  const form = /** @type {HTMLFormElement} */ (event.target);
  if (form.id === "sign-out") dropDrafts();
  else if (form.id === "stop") {
    event.preventDefault();
    asking.stopRun();
  } else if (form.id === "again") {
    event.preventDefault();
    asking.askAgain(event.submitter);
  } else if (form.id === "branch") {
    event.preventDefault();
    chooseVersion(event.submitter, following);
  } else if (form.id === "edit") {
    event.preventDefault();
    startEdit(event.submitter);
  } else if (form.id === "feedback") {
    event.preventDefault();
    rate(event.submitter, composer.token);
  } else if (form.matches(".feedback-form")) {
    event.preventDefault();
    sendReasons(form, composer.token);
  } else if (form.matches(".requests")) {
    event.preventDefault();
    sendAnswers(form, event.submitter, following);
  } else if (form.matches(".edit-form")) {
    event.preventDefault();
    asking.askEdited(form);
  } else if (form.matches(".draft-form")) {
    event.preventDefault();
    composer.fill([composer.text.value, /** @type {HTMLButtonElement} */ (event.submitter).value].filter(Boolean).join("\n"));
  } else if (form.matches(".suggestions")) {
    event.preventDefault();
    composer.fill(/** @type {HTMLButtonElement} */ (event.submitter).value);
  }
});
part("show-keys").addEventListener("click", () => openDialog("keys-list"));

// A server on this machine can be reached without a network.
addEventListener("offline", () => fetch("/healthz").catch(() => notifyByName("offline")));
addEventListener("online", () => clearNotice("offline", "unreachable"));

// Reload if Back or Forward changed the address, even while this page was loading. A page from the browser's
// back/forward cache is outdated, so reload it too.
function reloadIfMoved() {
  const inAddress = /\/chat\/([0-9a-f-]{36})\//.exec(location.pathname)?.[1];
  if (inAddress !== composer.conversation) location.reload();
}
addEventListener("popstate", reloadIfMoved);
addEventListener("pageshow", (event) => event.persisted && location.reload());

reloadIfMoved();
startAttention();
startDrafts();
startPanels();
startPreferences();
startCopying(part("messages"));
startInPageLinks(part("messages"));
startSteps();
startSearch();
startFolding(part("messages"), view);
startFileCards();
startDropping(composer.attachments);
startLightbox();
startFilesPanel();
startVersions(part("messages"));
startFeedback(part("messages"));
startKeys(() => asking.stopRun());
view.begin();
startOlderMessages(part("main"), part("messages"), part("older"));
following.followActive();
const update = startRemoteChanges(composer, following);
asking.update = update;
startQueue(part("queue"), composer, following, update);
startConversations();
startCallButton(composer, asking, following, view);
startEntryMenu(update);
saveTimeZone().then((isNew) => isNew && update({ type: "anew" }));
