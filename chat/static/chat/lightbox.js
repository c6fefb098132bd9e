// A picture of a message over the whole page, with the others of the conversation to the left and right.

import { openDialog } from "./panels.js";
import { uiString } from "./ui_strings.js";

const part = (id) => document.getElementById(id);

export function startLightbox() {
  const dialog = /** @type {HTMLDialogElement} */ (part("lightbox"));
  const picture = /** @type {HTMLImageElement} */ (part("lightbox-picture"));
  const download = /** @type {HTMLAnchorElement} */ (part("lightbox-download"));
  let links = [];
  let shown = 0;

  document.addEventListener("click", (event) => {
    const link = /** @type {Element} */ (event.target).closest?.(".picture-card a, a.panel-picture");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return; // the browser opens a tab or a window
    event.preventDefault();
    const place = link.closest("#messages, #files-panel");
    links = [...(place?.querySelectorAll(".picture-card:not([data-missing]) a, a.panel-picture") ?? [link])];
    show(links.indexOf(link));
    openDialog("lightbox");
  });

  function show(n) {
    shown = n;
    const link = links[n];
    const { name } = link.closest("[data-name]").dataset;
    picture.src = link.href;
    picture.alt = name;
    part("lightbox-name").textContent = name;
    part("lightbox-place").textContent = links.length > 1 ? uiString("picture-place", n + 1).replace("%t", String(links.length)) : "";
    download.href = link.href;
    for (const button of steps()) button.disabled = !links[n + Number(button.value)];
  }

  const steps = () => /** @type {NodeListOf<HTMLButtonElement>} */ (dialog.querySelectorAll(".lightbox-step"));
  const step = (by) => links[shown + by] && show(shown + by);

  dialog.addEventListener("click", ({ target }) => {
    const button = /** @type {HTMLButtonElement} */ (/** @type {Element} */ (target).closest(".lightbox-step"));
    if (button) step(Number(button.value));
    else if (target === dialog || target === part("lightbox-stage")) dialog.close();
  });
  dialog.addEventListener("keydown", (event) => {
    const forward = getComputedStyle(dialog).direction === "rtl" ? "ArrowLeft" : "ArrowRight";
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    event.preventDefault();
    step(event.key === forward ? 1 : -1);
  });
  dialog.addEventListener("close", () => picture.removeAttribute("src"));
}
