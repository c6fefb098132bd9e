// The menu of a conversation, in the list and above the open one: rename, pin, archive, export, delete.

import { entryOf } from "./conversations.js";
import { toast } from "./notices.js";
import { openDialog } from "./panels.js";
import { patchConversation, restoreConversation } from "./requests.js";
import { uiString } from "./ui_strings.js";

const part = (id) => document.getElementById(id);

// `update` brings the page up to date after a change of a conversation.
export function startEntryMenu(update) {
  const menu = part("entry-menu");
  const dialog = /** @type {HTMLDialogElement} */ (part("delete"));
  let button = null;

  document.addEventListener("click", (event) => {
    const pressed = /** @type {Element} */ (event.target).closest?.(".entry-button");
    if (!pressed) return;
    event.preventDefault();
    const wasOpen = menu.matches(":popover-open") && button === pressed;
    menu.hidePopover();
    if (!wasOpen) open(pressed);
  });

  function open(pressed) {
    button = pressed;
    const { pinned, archived } = button.dataset;
    const hidden = { pin: pinned, unpin: pinned === "false", archive: archived, unarchive: archived === "false" };
    for (const item of items()) item.hidden = String(hidden[item.value] ?? false) === "true";
    const { conversation } = button.dataset;
    for (const link of menu.querySelectorAll("a")) {
      link.pathname = link.dataset.page ? `/chat/${conversation}/${link.dataset.page}/` : `/api/v1/conversations/${conversation}/export`;
    }
    // Inside the sidebar, which is a popover on a phone: another place would close it.
    button.closest("nav, header").append(menu);
    menu.showPopover();
    const at = button.getBoundingClientRect();
    const size = menu.getBoundingClientRect();
    const below = at.bottom + size.height < innerHeight;
    menu.style.top = `${below ? at.bottom : Math.max(0, at.top - size.height)}px`;
    const left = Math.min(at.left, innerWidth - size.width - 8);
    menu.style.left = `${Math.max(8, left)}px`;
    shown()[0].focus();
  }

  // Buttons, and links to a page or downloads, which have no value.
  const items = () => /** @type {HTMLButtonElement[]} */ ([...menu.querySelectorAll(".menu-item")]);
  const shown = () => items().filter((item) => !item.hidden);

  menu.addEventListener("keydown", (event) => {
    const all = shown();
    const at = all.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
    if (event.key === "Tab") menu.hidePopover();
    if (to === undefined) return;
    event.preventDefault();
    all.at(to % all.length).focus();
  });

  menu.addEventListener("click", (event) => {
    const item = /** @type {HTMLButtonElement} */ (/** @type {Element} */ (event.target).closest(".menu-item"));
    if (!item) return;
    menu.hidePopover();
    const chosen = item.value;
    if (!chosen) return button.focus({ preventScroll: true });
    if (chosen === "rename") rename(button);
    else if (chosen === "delete") confirm();
    else if (chosen.endsWith("pin")) change({ pinned: chosen === "pin" }, `${chosen}ned`);
    else change({ archived: chosen === "archive" }, `${chosen}d`);
  });

  function confirm() {
    part("delete-text").textContent = uiString("delete-text", button.dataset.title);
    openDialog("delete");
  }

  dialog.querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    dialog.close();
    change(null, "deleted");
  });

  // Resolve to whether it is stored.
  async function change(fields, done) {
    const { conversation } = button.dataset;
    const item = entryOf(conversation);
    const next = focusable(item?.nextElementSibling) ?? focusable(item?.previousElementSibling) ?? part("new");
    if (!(await isStored(patchConversation(conversation, fields)))) return false;
    if (!fields && location.pathname === `/chat/${conversation}/`) return location.assign(`/?deleted=${conversation}`);
    toast(uiString(done), { action: fields ? null : { label: uiString("undo"), run: () => undo(conversation) } });
    await update({ type: "conversation", conversation });
    if (button.isConnected) button.focus({ preventScroll: true });
    else next.focus({ preventScroll: true });
    return true;
  }

  async function undo(conversation) {
    if (!(await isStored(restoreConversation(conversation)))) return;
    toast(uiString("restored"));
    await update({ type: "conversation", conversation });
    focusable(entryOf(conversation))?.focus({ preventScroll: true });
  }

  async function isStored(request) {
    const error = await request.catch((failure) => failure);
    if (error) toast(error.code ? error.message : uiString("not-saved"), { stays: true });
    return !error;
  }

  const focusable = (item) => item?.querySelector("a") ?? item?.nextElementSibling?.querySelector("a");

  // Put a field in place of the title: in the list, or in the header if the list is closed or does not have it.
  function rename({ dataset: { title } }) {
    const item = button.closest("li");
    const place = item?.querySelector("a") ?? document.querySelector(".pane-head .conversation-title");
    const form = document.createElement("form");
    const field = document.createElement("input");
    form.className = "rename-form";
    Object.assign(field, { value: title, dir: "auto", maxLength: 200, ariaLabel: uiString("title-label"), enterKeyHint: "done" });
    form.append(field);
    place.hidden = true;
    place.after(form);
    field.focus();
    field.select();

    let isOpen = true;
    function end() {
      if (!isOpen) return; // removing the field with the focus ends it again, by its blur
      isOpen = false;
      form.remove();
      place.hidden = false;
    }
    field.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key !== "Escape") return;
      event.preventDefault(); // else it closes the sidebar of a phone
      end();
      button.focus();
    });
    field.addEventListener("input", () => field.setCustomValidity(""));
    field.addEventListener("blur", () => !document.hidden && end());
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const named = field.value.trim();
      if (!named) {
        field.setCustomValidity(uiString("title-blank"));
        return field.reportValidity();
      }
      end();
      if (named === title) return button.focus();
      place.textContent = named;
      change({ title: named }, "renamed").then((isStored) => {
        if (!isStored) place.textContent = title;
      });
    });
  }
}
