// Keys of the review queue and of its items: j and k move, c claims, a and d go to the form and to its "Dismiss".

const KEPT = "review-keys";
const shown = /** @type {HTMLElement} */ (document.querySelector(".review-keys"));
const box = /** @type {HTMLInputElement} */ (document.querySelector("#review-keys"));
const links = /** @type {HTMLElement[]} */ ([...document.querySelectorAll(".queue-link")]);

shown.hidden = false;
box.checked = localStorage.getItem(KEPT) !== "off";
box.addEventListener("change", () => localStorage.setItem(KEPT, box.checked ? "on" : "off"));

const acts = {
  j: () => move(1, "next"),
  k: () => move(-1, "prev"),
  c: claim,
  a: () => focusOn(document.querySelector("#decide :is(input:not([type='hidden']), textarea)")),
  // only the focus: Enter or Space decides
  d: () => focusOn(document.querySelector("#dismiss")),
};

document.addEventListener("keydown", (event) => {
  if (!box.checked || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey || event.isComposing) return;
  const target = /** @type {HTMLElement} */ (event.target);
  if (target.closest("textarea, select, input:not([type='checkbox'], [type='radio'])")) return;
  if (!Object.hasOwn(acts, event.key)) return;
  event.preventDefault();
  acts[event.key]();
});

// Move to another item: in the queue the focus moves, from an item its neighbour is opened.
function move(step, rel) {
  const neighbour = /** @type {HTMLAnchorElement} */ (document.querySelector(`.review-steps a[rel="${rel}"]`));
  if (neighbour) neighbour.click();
  if (links.length === 0) return;
  const here = links.findIndex((link) => link.closest("li").contains(document.activeElement));
  focusOn(links[Math.min(Math.max(here + step, 0), links.length - 1)]);
}

function claim() {
  const row = document.activeElement.closest(".queue-item") ?? document.querySelector("#decide");
  /** @type {HTMLButtonElement} */ (row?.querySelector("button.claim"))?.click();
}

function focusOn(target) {
  target?.focus();
  target?.scrollIntoView({ block: "nearest" });
}
