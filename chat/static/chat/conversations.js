// The list of conversations: takes over what the server sends without losing what is loaded, the place or the
// focus, and loads more on scrolling.

import { morph, takeAttributes } from "./morph.js";
import { fetchPageRetrying } from "./requests.js";

const AHEAD = "400px"; // distance below the view at which the next page is fetched
const DAY_CHECK_MS = 60_000;

const part = (id) => document.getElementById(id);
const list = () => part("conversations");
export const entryOf = (conversation) => part(`c-${conversation}`);
const isGroup = (item) => item?.matches(".conversation-group");

// Take over a list of the server. `covers` returns whether an entry that is missing there is gone; by default
// the list is the first page. Entries and groups are in descending order of data-order.
export function mergeList(there, covers = (item) => item.dataset.order >= there.dataset.end) {
  const here = list();
  const isOther = ["day", "archived"].some((name) => here.dataset[name] !== there.dataset[name]);
  if (isOther || !there.querySelector(".conversation-entry") || !here.querySelector(".conversation-entry")) {
    takeAttributes(here, there);
    for (const id of ["conversations", "more-conversations"]) part(id).replaceChildren(...partOf(there, id).childNodes);
  } else {
    const fresh = new Set([...there.children].map((item) => item.id));
    for (const item of [...here.children]) if (!fresh.has(item.id) && covers(item) && !isEdited(item)) item.remove();
    place(here, [...there.children]);
  }
  part("archived-conversations").replaceChildren(...partOf(there, "archived-conversations").childNodes);
  tidy(here);
}

const partOf = (there, id) => (there.id === id ? there : there.getRootNode().getElementById(id));
const isEdited = (item) => item.querySelector("form") !== null;

// Both are in order, so one walk is enough.
function place(here, items) {
  let at = here.firstElementChild;
  for (const item of items) {
    while (at && at.dataset.order > item.dataset.order) at = at.nextElementSibling;
    const old = part(item.id);
    if (!old) here.insertBefore(item, at);
    else if (isEdited(old)) continue;
    else {
      if (old === at) at = at.nextElementSibling;
      else move(here, old, at);
      takeAttributes(old, item);
      morph(old, item);
    }
  }
}

function move(here, item, before) {
  const focused = document.activeElement;
  if (here.moveBefore) here.moveBefore(item, before); // keeps the focus
  else {
    here.insertBefore(item, before);
    if (item.contains(focused)) /** @type {HTMLElement} */ (focused).focus({ preventScroll: true });
  }
}

// Remove groups without entries, and mark the conversation that is open.
function tidy(here) {
  for (const item of [...here.children]) {
    if (isGroup(item) && (!item.nextElementSibling || isGroup(item.nextElementSibling))) item.remove();
  }
  for (const link of here.querySelectorAll("a")) {
    if (link.pathname === location.pathname) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

// Read these conversations again, or without ids all that are loaded.
export async function readList(ids) {
  const here = list();
  const query = new URLSearchParams(here.dataset.archived ? { archived: "1" } : {});
  const link = part("more-conversations").querySelector("a");
  if (ids) query.set("ids", ids.join());
  else if (link) query.set("through", new URL(link.href).searchParams.get("list"));
  const there = await fetchList(query);
  if (!there) return;
  if (ids && there.dataset.day !== here.dataset.day) return readList(); // the groups have other dates now
  const named = new Set(ids?.map((id) => `c-${id}`));
  if (!ids) return mergeList(there);
  for (const item of [...there.children]) {
    const isBelow = item.dataset.order < here.dataset.end && item.id !== `c-${openConversation()}`;
    if (isBelow) item.remove();
  }
  for (const id of named) if (!there.querySelector(`#${id}`)) remove(id);
  place(here, [...there.children]);
  part("archived-conversations").replaceChildren(...partOf(there, "archived-conversations").childNodes);
  tidy(here);
}

const openConversation = () => /\/chat\/([0-9a-f-]{36})\//.exec(location.pathname)?.[1];

function remove(id) {
  const item = part(id);
  if (item && !isEdited(item)) item.remove();
}

async function fetchList(search) {
  const query = new URLSearchParams(search);
  query.set("open", openConversation() ?? "");
  const fresh = await fetchPageRetrying(`/chat/list/?${query}`).catch(() => null); // signed out: the socket handles it
  return fresh?.getElementById("conversations");
}

export function startConversations() {
  const more = part("more-conversations");
  let busy = false;
  const watcher = new IntersectionObserver(([seen]) => seen.isIntersecting && load(), {
    root: part("conversation-list"),
    rootMargin: `0px 0px ${AHEAD} 0px`,
  });

  async function load() {
    const link = more.querySelector("a");
    if (!link || busy) return;
    busy = true;
    const there = await fetchList(link.search);
    busy = false;
    if (!there || !link.isConnected) return;
    const next = [...partOf(there, "more-conversations").childNodes];
    place(list(), [...there.children]);
    list().dataset.end = there.dataset.end;
    more.replaceChildren(...next);
    tidy(list());
    watcher.unobserve(more); // observe again: the link may still be near
    watcher.observe(more);
  }

  // With the day, the groups move. A timer up to midnight would be late on a computer that slept.
  let day = new Date().getDate();
  setInterval(() => {
    const today = new Date().getDate();
    if (day !== today) readList();
    day = today;
  }, DAY_CHECK_MS);

  more.addEventListener("click", (event) => {
    event.preventDefault();
    load();
  });
  watcher.observe(more);
  // The open conversation is always in view (css/layout.css): show its place by the entry below it.
  const open = document.querySelector("#conversations li:has([aria-current]) + li");
  open?.scrollIntoView({ block: "nearest", behavior: "instant" });
}
