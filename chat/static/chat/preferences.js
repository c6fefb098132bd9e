// A member's settings of the page: applied immediately, and stored by the server in cookies.

import { askToNotify } from "./attention.js";
import { toast } from "./notices.js";
import { uiString } from "./ui_strings.js";

const findForm = () => /** @type {HTMLFormElement} */ (document.getElementById("preferences"));

export function startPreferences() {
  findForm().addEventListener("change", async ({ target }) => {
    const { name, value } = /** @type {HTMLInputElement} */ (target);
    if (name === "notify" && value === "on" && !(await askToNotify())) return refuse();
    apply(name, value);
    if (await savePreference(name, value)) toast(uiString("saved"));
  });
}

// Store the browser's time zone if the page was rendered in another one; resolve to whether it is new.
export async function saveTimeZone() {
  const { timeZone } = Intl.DateTimeFormat().resolvedOptions();
  return timeZone !== document.body.dataset.timeZone && (await store("time_zone", timeZone));
}

// Resolve to whether the server stored it; a toast reports a failure.
export async function savePreference(name, value) {
  const stored = await store(name, value);
  if (!stored) toast(uiString("not-saved"), { stays: true });
  return stored;
}

async function store(name, value) {
  const form = findForm();
  const token = /** @type {HTMLInputElement} */ (form.elements.namedItem("csrfmiddlewaretoken"));
  const fields = { csrfmiddlewaretoken: token.value, [name]: value };
  const body = new URLSearchParams(fields);
  const response = await fetch(form.action, { method: "POST", body, redirect: "manual" }).catch(() => null);
  return response?.type === "opaqueredirect"; // the redirect back to this page
}

// Go back to the value before, and say that the browser does not allow it.
function refuse() {
  const choice = /** @type {RadioNodeList} */ (findForm().elements.namedItem("notify"));
  choice.value = "off";
  toast(uiString("no-notifications"), { stays: true });
}

function apply(name, value) {
  const place = name === "theme" ? document.documentElement : document.body;
  place.dataset[name] = value;
}
