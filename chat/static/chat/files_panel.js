// The panel of a conversation's files, which the server renders.

import { toast } from "./notices.js";
import { openDialog } from "./panels.js";
import { fetchPage } from "./requests.js";
import { uiString } from "./ui_strings.js";

const part = (id) => document.getElementById(id);

export function startFilesPanel() {
  const dialog = /** @type {HTMLDialogElement} */ (part("files-panel"));
  let address = "";

  // The header is replaced when a new conversation begins.
  part("pane-actions").addEventListener("click", async (event) => {
    const link = /** @type {HTMLAnchorElement} */ (/** @type {Element} */ (event.target).closest(".open-files"));
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    address = link.href;
    if (await load()) openDialog("files-panel");
  });

  // An answer that has ended may have made files.
  const watcher = new MutationObserver(() => dialog.open && document.body.dataset.state === "idle" && load());
  watcher.observe(document.body, { attributeFilter: ["data-state"] });

  // Resolve to whether the list is shown.
  async function load() {
    const fresh = await fetchPage(address).catch(() => null);
    const list = fresh?.getElementById("files-list");
    if (list) part("files-list").replaceChildren(...list.childNodes);
    else toast(uiString("files-not-loaded"), { stays: true });
    return Boolean(list);
  }
}
