// Search as the user types: results in place of the list of conversations. The server renders them.

import { parsePage } from "./trusted_html.js";

const PAUSE_MS = 150; // after the last key

const part = (id) => document.getElementById(id);
const readField = () => /** @type {HTMLInputElement} */ (part("find")).value.trim();

export function startSearch() {
  let timer;
  part("find").addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(search, PAUSE_MS);
  });
  part("search").addEventListener("submit", (event) => {
    event.preventDefault();
    search();
  });
  part("found").addEventListener("click", (event) => {
    const link = /** @type {Element} */ (event.target).closest(".more-hits");
    if (!link) return;
    event.preventDefault();
    append(/** @type {HTMLAnchorElement} */ (link));
  });
  part("sidebar").addEventListener("keydown", onKey);
  part("found").querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" });
  highlight();
}

let request = new AbortController();

// Resolve to the server's results, or to null if a newer search has begun or the server is away.
async function load(query) {
  request.abort();
  request = new AbortController();
  const { signal } = request;
  try {
    const response = await fetch(`${part("search").dataset.hits}${query}`, { signal });
    if (response.redirected || !response.ok) return null;
    return parsePage(await response.text()).body;
  } catch {
    return null;
  }
}

async function search() {
  const text = readField();
  if (!text) return clear();
  const fresh = await load(`?find=${encodeURIComponent(text)}`);
  if (!fresh) return;
  part("found").replaceChildren(...fresh.childNodes);
  part("found-status").textContent = part("found").querySelector(".hits-count").textContent;
}

async function append(link) {
  const fresh = await load(new URL(link.href).search);
  if (!fresh || !link.isConnected) return;
  const first = /** @type {HTMLElement | null} */ (fresh.querySelector(".hits a"));
  part("found").querySelector(".hits").append(...fresh.querySelectorAll(".hits > li"));
  const more = fresh.querySelector(".more-hits");
  if (more) link.replaceWith(more);
  else link.parentElement.remove();
  first?.focus();
}

// Show the list again, and forget the search in the address.
function clear() {
  request.abort();
  part("found").replaceChildren();
  part("found-status").textContent = "";
  const address = new URL(location.href);
  for (const name of ["find", "hits"]) address.searchParams.delete(name);
  if (address.href !== location.href) history.replaceState(history.state, "", address);
}

function onKey(event) {
  const inField = event.target.id === "find";
  if (event.key === "Escape" && inField && readField()) {
    event.preventDefault(); // on a phone it would close the sidebar
    /** @type {HTMLInputElement} */ (event.target).value = "";
    return clear();
  }
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step || !(inField || event.target.closest(".hits"))) return;
  /** @type {HTMLElement[]} */
  const stops = [part("find"), .../** @type {NodeListOf<HTMLElement>} */ (part("found").querySelectorAll(".hits a"))];
  const next = stops[stops.indexOf(event.target) + step];
  if (!next) return;
  event.preventDefault();
  next.focus();
}

// Mark the words of the search in the message that a result has opened.
function highlight() {
  const message = part(location.hash.slice(1));
  const words = readField().toLocaleLowerCase().match(/[\p{L}\p{N}\p{M}]+/gu);
  if (!message?.matches("article") || !words || !globalThis.Highlight) return;
  const ranges = [];
  const walker = document.createTreeWalker(message, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const text = node.nodeValue.toLocaleLowerCase();
    for (const word of words) {
      for (let at = text.indexOf(word); at >= 0 && at + word.length <= node.nodeValue.length; at = text.indexOf(word, at + word.length)) {
        const range = new Range();
        range.setStart(node, at);
        range.setEnd(node, at + word.length);
        ranges.push(range);
      }
    }
  }
  CSS.highlights.set("found", new Highlight(...ranges));
}
