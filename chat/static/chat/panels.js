// The sidebar and the dialogs.

import { savePreference } from "./preferences.js";

const part = (id) => document.getElementById(id);
const isNarrow = matchMedia("(width < 48rem)");

export function startPanels() {
  part("menu").addEventListener("click", (event) => {
    if (isNarrow.matches) return; // the browser opens it, over the page
    event.preventDefault();
    toggleSidebar();
  });
  part("sidebar").addEventListener("toggle", (event) => {
    if (event.newState === "open") part("new").focus();
    updateMenu();
  });
  isNarrow.addEventListener("change", updateMenu);
  document.addEventListener("click", onDialogButton);
  updateMenu();
}

export function toggleSidebar() {
  if (isNarrow.matches) return part("sidebar").togglePopover();
  const wanted = isOpen() ? "closed" : "open";
  document.body.dataset.sidebar = wanted;
  updateMenu();
  savePreference("sidebar", wanted);
}

export function showSidebar() {
  if (!isOpen()) toggleSidebar();
}

export function openDialog(id) {
  const dialog = /** @type {HTMLDialogElement} */ (part(id));
  /** @type {NodeListOf<HTMLElement>} */
  const popovers = document.querySelectorAll(":popover-open");
  for (const open of popovers) open.hidePopover();
  dialog.showModal();
}

function isOpen() {
  return isNarrow.matches ? part("sidebar").matches(":popover-open") : document.body.dataset.sidebar !== "closed";
}

const updateMenu = () => part("menu").setAttribute("aria-expanded", String(isOpen()));

// Dialogs are popovers without scripts, and modal with them.
function onDialogButton(event) {
  const button = event.target.closest("[popovertarget]");
  const dialog = button?.popoverTargetElement;
  if (!(dialog instanceof HTMLDialogElement)) return;
  event.preventDefault();
  if (button.popoverTargetAction === "hide") dialog.close();
  else openDialog(dialog.id);
}
