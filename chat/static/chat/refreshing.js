// The page as the server has it now, taken in place: what was live becomes what a reload would show.

import { Refused } from "./asking.js";
import { delay, pause } from "./patience.js";

// Resolves to the parsed page, this one by default. Throws Refused (401, 404), or a TypeError where there
// is no connection.
export async function fetchPage(address = location.href) {
  const response = await fetch(address, { headers: { Accept: "text/html" } });
  if (response.redirected) throw new Refused(401, { code: "not_signed_in", detail: "" });
  if (!response.ok) throw new Refused(response.status, { code: "", detail: "" });
  return new DOMParser().parseFromString(await response.text(), "text/html");
}

// As fetchPage, for as long as it takes: `lost` is called with each failure that may pass.
export async function fetchPagePatiently(lost, address) {
  for (let failures = 0; ; failures += 1) {
    try {
      return await fetchPage(address);
    } catch (error) {
      if (error instanceof Refused && error.status < 500) throw error;
      lost();
      await pause(delay(failures));
    }
  }
}

// Put the parts of `fresh` with these ids in the place of this page's; all of them by default.
export function swap(fresh, ids = [...document.querySelectorAll("[data-swap]")].map((part) => part.id)) {
  for (const id of ids) {
    const [here, there] = [document.getElementById(id), fresh.getElementById(id)];
    if (here && there) take(here, there);
  }
}

// Equal nodes stay: a selection in a finished message survives.
function take(here, there) {
  for (const { name, value } of there.attributes) here.setAttribute(name, value);
  const [old, fresh] = [[...here.children], [...there.children]];
  for (const [place, node] of fresh.entries()) {
    if (!old[place]) here.append(node);
    else if (!old[place].isEqualNode(node)) {
      keepOpen(old[place], node);
      old[place].replaceWith(node);
    }
  }
  for (const node of old.slice(fresh.length)) node.remove();
}

// What the person has unfolded stays unfolded.
function keepOpen(old, fresh) {
  const steps = fresh.querySelectorAll("details");
  for (const [place, step] of old.querySelectorAll("details").entries()) {
    if (steps[place]) steps[place].open = step.open;
  }
}
