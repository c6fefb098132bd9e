// How somebody likes the page: shown at once, and kept by the server for every page to come.

import { toast } from "./notices.js";
import { word } from "./words.js";

const form = document.getElementById("preferences");

export function startPreferences() {
  form.addEventListener("change", async ({ target }) => {
    show(target.name, target.value);
    if (await keep(target.name, target.value)) toast(word("saved"));
  });
}

// Resolves to whether it is kept; a toast says where it is not.
export async function keep(name, value) {
  const fields = { csrfmiddlewaretoken: form.elements.csrfmiddlewaretoken.value, [name]: value };
  const body = new URLSearchParams(fields);
  const response = await fetch(form.action, { method: "POST", body, redirect: "manual" }).catch(() => null);
  const kept = response?.type === "opaqueredirect"; // the way back to the page, which is here already
  if (!kept) toast(word("not-saved"), { stays: true });
  return kept;
}

function show(name, value) {
  const place = name === "theme" ? document.documentElement : document.body;
  place.dataset[name] = value;
}
