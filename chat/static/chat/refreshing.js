// The page as the server has it now, taken in place: what was live becomes what a reload would show.

import { Refused } from "./asking.js";
import { dress } from "./copying.js";
import { morph, takeAttributes } from "./morph.js";
import { delay, pause } from "./patience.js";
import { parsePage } from "./trusted.js";

// Resolves to the parsed page, this one by default. Throws Refused (401, 404), or a TypeError where there
// is no connection.
export async function fetchPage(address = location.href) {
  const response = await fetch(address, { headers: { Accept: "text/html" } });
  if (response.redirected) throw new Refused(401, { code: "not_signed_in", detail: "" });
  if (!response.ok) throw new Refused(response.status, { code: "", detail: "" });
  return parsePage(await response.text());
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

// Make the parts of this page with these ids those of `fresh`; all of them by default.
export function swap(fresh, ids = [...document.querySelectorAll("[data-swap]")].map((part) => part.id)) {
  for (const id of ids) {
    const [here, there] = [document.getElementById(id), fresh.getElementById(id)];
    if (!here || !there) continue;
    takeAttributes(here, there);
    if (id === "messages") takeMessages(here, there, fresh);
    else morph(here, there);
  }
}

// `there` has the newest messages alone: what this page has above them stays.
function takeMessages(here, there, fresh) {
  for (const parent of [here, there]) dropBlanks(parent);
  const first = there.firstElementChild?.id;
  const above = Math.max(0, [...here.children].findIndex((turn) => first && turn.id === first));
  if (above === 0) morph(document.getElementById("older"), fresh.getElementById("older"));
  morph(here, dress(there), above);
}

// Template's line ends between messages, which say nothing.
function dropBlanks(parent) {
  for (const node of [...parent.childNodes]) if (node.nodeType === Node.TEXT_NODE) node.remove();
}
