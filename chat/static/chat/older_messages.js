// Loading of older messages while the user scrolls up, without moving the messages in view.

import { addCodeButtons } from "./copying.js";
import { fetchPageRetrying } from "./requests.js";

const AHEAD = "800px"; // distance above the view at which they are fetched

export function startOlderMessages(view, messages, older) {
  let busy = false;
  const watcher = new IntersectionObserver(([seen]) => seen.isIntersecting && load(), {
    root: view,
    rootMargin: `${AHEAD} 0px 0px 0px`,
  });

  async function load() {
    const link = older.querySelector("a");
    if (!link || busy) return;
    busy = true;
    const fresh = await fetchPageRetrying(link.href).catch(() => null); // signed out, or gone
    if (fresh && link.isConnected) insert(fresh);
    busy = false;
  }

  function insert(fresh) {
    const anchor = [...messages.children].find((message) => message.getBoundingClientRect().bottom > view.offsetTop);
    const top = anchor?.getBoundingClientRect().top;
    messages.prepend(...addCodeButtons(fresh.getElementById("messages")).children);
    older.replaceChildren(...fresh.getElementById("older").children);
    if (anchor) view.scrollTop += anchor.getBoundingClientRect().top - top;
    watcher.unobserve(older); // observe again: the link may still be near
    watcher.observe(older);
  }

  older.addEventListener("click", (event) => {
    event.preventDefault();
    load();
  });
  watcher.observe(older);
}
