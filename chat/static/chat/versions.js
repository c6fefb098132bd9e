// Versions of a message: choosing another one, and editing a question in place.

import { announceText, toast } from "./notices.js";
import { fetchPage, newKey } from "./requests.js";
import { clone, uiString } from "./ui_strings.js";

const pagerIn = (article) => article?.querySelector(":scope > .message-actions > .pager");

// Return the pager of a message that becomes the newest version, beside `old`; `previous` is the id before it.
export function newestPager(old, previous = pagerIn(old)?.dataset.newest ?? old.id.slice(2)) {
  const pager = clone("pager");
  const total = Number(pagerIn(old)?.dataset.total ?? 1) + 1;
  pager.ariaLabel = pager.ariaLabel.replaceAll("%s", String(total));
  const place = pager.querySelector(".pager-place");
  place.textContent = place.textContent.replaceAll("%s", String(total));
  pager.querySelector("button").value = previous;
  return pager;
}

// Show the version that the button of a pager names. The messages above it stay in place, and so does the focus.
export async function chooseVersion(button, following) {
  if (document.body.dataset.state === "asking") return;
  const article = button.closest("article");
  const above = button.closest(".run-outcome") ? article : article?.previousElementSibling;
  const top = above?.getBoundingClientRect().top;
  const [chosen, direction] = [`m-${button.value}`, button.matches(".previous") ? ".previous" : ".next"];
  const body = new FormData(button.form, button);
  const fresh = await fetchPage(button.form.action, { method: "POST", body }).catch(() => null);
  if (!fresh) return toast(uiString("not-saved"), { stays: true });
  // Too far above the end: a page of its own has it.
  if (!fresh.getElementById("composer")) return location.assign(`?version=${button.value}#${chosen}`);
  const kept = above && fresh.getElementById(above.id);
  following.view.stay();
  following.show(fresh);
  if (!article) return following.view.toEnd();
  if (kept) following.view.moveBy(above.getBoundingClientRect().top - top);
  const shown = kept ? above.nextElementSibling : document.getElementById(chosen);
  const pager = pagerIn(shown);
  const next = pager?.querySelector(`${direction}:enabled`) ?? pager?.querySelector(":enabled") ?? shown;
  next?.focus({ preventScroll: true });
  if (pager) announceText(pager.ariaLabel);
}

// Put a form in place of the question whose Edit button this is.
export function startEdit(button) {
  const article = button.closest("article");
  const form = /** @type {HTMLFormElement} */ (clone("edit-question"));
  const field = form.querySelector("textarea");
  field.value = article.querySelector(".bubble").textContent;
  form.querySelector("ul").append(...filesIn(article).map(fileChoice));
  requireText(form);
  article.querySelector(".bubble").after(form);
  article.dataset.editing = "question";
  field.focus();
  renewKey(form);
}

// Return the fields of the files of a message, or of a queued one.
export function filesIn(article) {
  const cards = /** @type {NodeListOf<HTMLElement>} */ (article.querySelectorAll(".files [data-file]"));
  return [...cards].map(({ dataset: { file, name, mime, size, width, height } }) => {
    return { file, name, mime, size: Number(size), width: Number(width), height: Number(height) };
  });
}

// Return the files of the edited question that are still checked.
export function keptFiles(form) {
  const kept = new FormData(form).getAll("files");
  return filesIn(form.closest("article")).filter(({ file }) => kept.includes(file));
}

function fileChoice({ file, name }) {
  const choice = clone("edit-file");
  choice.querySelector("input").value = file;
  choice.querySelector("bdi").textContent = name;
  return choice;
}

// A question of files only needs no text.
const requireText = (form) => (form.elements.query.required = !form.querySelector(".edit-files :checked"));

export function endEdit(form) {
  const article = form.closest("article");
  form.remove();
  delete article.dataset.editing;
  article.querySelector(".edit-question").focus();
}

// Each text gets a key of its own: one that is sent again after a failure becomes one message.
const renewKey = (form) => (form.elements.client_id.value = newKey());

export function startVersions(messages) {
  if (new URLSearchParams(location.search).has("edit")) history.replaceState(null, "", location.pathname);
  messages.addEventListener("input", ({ target: { form } }) => {
    if (!form?.matches(".edit-form")) return;
    renewKey(form);
    requireText(form);
  });
  messages.addEventListener("click", (event) => {
    if (!event.target.closest(".edit-cancel")) return;
    event.preventDefault();
    endEdit(event.target.closest("form"));
  });
  messages.addEventListener("keydown", (event) => {
    const form = event.target.closest("textarea") && event.target.closest(".edit-form");
    if (!form || event.isComposing || event.keyCode === 229) return; // 229: see templates/chat/_enter.html
    const sends = event.key === "Enter" && !event.shiftKey && !matchMedia("(pointer: coarse)").matches;
    if (!sends && event.key !== "Escape") return;
    event.preventDefault();
    if (sends) form.requestSubmit();
    else endEdit(form);
  });
}
