// A member's settings of the page: applied immediately, and stored by the server in cookies.

import { toast } from "./notices.js";
import { uiString } from "./ui_strings.js";

const findForm = () => /** @type {HTMLFormElement} */ (document.getElementById("preferences"));

export function startPreferences() {
  findForm().addEventListener("change", async ({ target }) => {
    const { name, value } = /** @type {HTMLInputElement} */ (target);
    apply(name, value);
    if (await savePreference(name, value)) toast(uiString("saved"));
  });
}

// Resolve to whether the server stored it; a toast reports a failure.
export async function savePreference(name, value) {
  const form = findForm();
  const token = /** @type {HTMLInputElement} */ (form.elements.namedItem("csrfmiddlewaretoken"));
  const fields = { csrfmiddlewaretoken: token.value, [name]: value };
  const body = new URLSearchParams(fields);
  const response = await fetch(form.action, { method: "POST", body, redirect: "manual" }).catch(() => null);
  const stored = response?.type === "opaqueredirect"; // the redirect back to this page
  if (!stored) toast(uiString("not-saved"), { stays: true });
  return stored;
}

function apply(name, value) {
  const place = name === "theme" ? document.documentElement : document.body;
  place.dataset[name] = value;
}
