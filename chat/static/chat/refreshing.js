// Update of the page in place from the server's current page, as a reload would show it.

import { Refused } from "./asking.js";
import { retryDelay, sleep } from "./backoff.js";
import { addCodeButtons } from "./copying.js";
import { morph, takeAttributes } from "./morph.js";
import { parsePage } from "./trusted_html.js";

// Resolve to the parsed page, this one by default. Throws Refused (401, 404), or a TypeError without a
// connection.
export async function fetchPage(address = location.href) {
  const response = await fetch(address, { headers: { Accept: "text/html" } });
  if (response.redirected) throw new Refused(401, { code: "not_signed_in", detail: "" });
  if (!response.ok) throw new Refused(response.status, { code: "", detail: "" });
  return parsePage(await response.text());
}

// Call fetchPage until it succeeds or is refused with a 4xx; `lost` is called after each temporary failure.
export async function fetchPageRetrying(address, lost = () => {}) {
  for (let failures = 0; ; failures += 1) {
    try {
      return await fetchPage(address);
    } catch (error) {
      if (error instanceof Refused && error.status < 500) throw error;
      lost();
      await sleep(retryDelay(failures));
    }
  }
}

// Replace the parts of this page with these ids by those of `fresh`; by default all parts with data-swap.
export function swap(fresh, ids = [...document.querySelectorAll("[data-swap]")].map((part) => part.id)) {
  for (const id of ids) {
    const [here, there] = [document.getElementById(id), fresh.getElementById(id)];
    if (!here || !there) continue;
    takeAttributes(here, there);
    if (id === "messages") takeMessages(here, there, fresh);
    else morph(here, there);
  }
}

// `there` has only the newest messages: keep the older ones above them.
function takeMessages(here, there, fresh) {
  for (const parent of [here, there]) removeWhitespace(parent);
  const first = there.firstElementChild?.id;
  const above = Math.max(0, [...here.children].findIndex((message) => first && message.id === first));
  if (above === 0) morph(document.getElementById("older"), fresh.getElementById("older"));
  morph(here, addCodeButtons(there), above);
}

// Remove the template's whitespace between messages.
function removeWhitespace(parent) {
  for (const node of [...parent.childNodes]) if (node.nodeType === Node.TEXT_NODE) node.remove();
}
