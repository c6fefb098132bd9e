// Older messages come as one scrolls up to them, and nothing that is in view moves.

import { dress } from "./copying.js";
import { fetchPagePatiently } from "./refreshing.js";

const AHEAD = "800px"; // how far above the view they are fetched

export function bringOlder(view, messages, older) {
  let busy = false;
  const watcher = new IntersectionObserver(([seen]) => seen.isIntersecting && bring(), {
    root: view,
    rootMargin: `${AHEAD} 0px 0px 0px`,
  });

  async function bring() {
    const link = older.querySelector("a");
    if (!link || busy) return;
    busy = true;
    const fresh = await fetchPagePatiently(() => {}, link.href).catch(() => null); // signed out, or gone
    if (fresh && link.isConnected) put(fresh);
    busy = false;
  }

  function put(fresh) {
    const held = [...messages.children].find((turn) => turn.getBoundingClientRect().bottom > view.offsetTop);
    const top = held?.getBoundingClientRect().top;
    messages.prepend(...dress(fresh.getElementById("messages")).children);
    older.replaceChildren(...fresh.getElementById("older").children);
    if (held) view.scrollTop += held.getBoundingClientRect().top - top;
    watcher.unobserve(older); // and look again: it may still be near
    watcher.observe(older);
  }

  older.addEventListener("click", (event) => {
    event.preventDefault();
    bring();
  });
  watcher.observe(older);
}
