// What opens over the page or beside it: the sidebar, and dialogs.

import { keep } from "./preferences.js";

const sidebar = document.getElementById("sidebar");
const menu = document.getElementById("menu");
const isNarrow = matchMedia("(width < 48rem)");

export function startPanels() {
  menu.addEventListener("click", (event) => {
    if (isNarrow.matches) return; // the browser opens it, over the page
    event.preventDefault();
    toggleSidebar();
  });
  sidebar.addEventListener("toggle", (event) => {
    if (event.newState === "open") sidebar.querySelector("#new").focus();
    tell();
  });
  isNarrow.addEventListener("change", tell);
  document.addEventListener("click", dialogs);
  tell();
}

export function toggleSidebar() {
  if (isNarrow.matches) return sidebar.togglePopover();
  const wanted = isOpen() ? "closed" : "open";
  document.body.dataset.sidebar = wanted;
  tell();
  keep("sidebar", wanted);
}

export function showSidebar() {
  if (!isOpen()) toggleSidebar();
}

export function openDialog(id) {
  const dialog = document.getElementById(id);
  for (const open of document.querySelectorAll(":popover-open")) open.hidePopover();
  dialog.showModal();
}

function isOpen() {
  return isNarrow.matches ? sidebar.matches(":popover-open") : document.body.dataset.sidebar !== "closed";
}

const tell = () => menu.setAttribute("aria-expanded", String(isOpen()));

// A dialog is a popover without scripts; with them it is modal, and what is behind it waits.
function dialogs(event) {
  const button = event.target.closest("[popovertarget]");
  const dialog = button && document.getElementById(button.getAttribute("popovertarget"));
  if (!(dialog instanceof HTMLDialogElement)) return;
  event.preventDefault();
  if (button.getAttribute("popovertargetaction") === "hide") dialog.close();
  else openDialog(dialog.id);
}
