// The WebSocket that reports changes made elsewhere. It sends no content: the page fetches that over HTTP.

import { retryDelay } from "./backoff.js";

// A hidden tab closes its socket after this time, unless it expects the end of a run. When it is visible again, it
// receives the missed changes.
const SOCKET_HIDDEN_SECONDS = 60;
// After a socket that lasted this long, the count of failures starts again.
const STABLE_SECONDS = 10;

// Handlers: lastChange() returns the number of the last change that the page shows; onChange(change);
// onOpen(), at each connection; isSignedIn() resolves to whether the user is still signed in, perhaps with a new
// session; and isExpecting() returns whether a hidden tab keeps its socket.
export function listen({ lastChange, onChange, onOpen, isSignedIn, isExpecting }) {
  let socket = null;
  let failures = 0;
  let timer = 0;

  function open() {
    clearTimeout(timer);
    const opened = Date.now();
    const mine = new WebSocket(`${location.origin.replace(/^http/, "ws")}/ws/?after=${lastChange()}`);
    mine.onopen = onOpen;
    mine.onmessage = (event) => onChange(JSON.parse(event.data));
    mine.onclose = (event) => {
      if (socket !== mine) return; // closed by closeHidden
      socket = null;
      if (Date.now() - opened > STABLE_SECONDS * 1000) failures = 0;
      onClose(event.code);
    };
    socket = mine;
  }

  async function onClose(code) {
    if (code === Number(document.body.dataset.signedOutCode) && !(await isSignedIn())) return end();
    if ((document.hidden && !isExpecting()) || socket) return;
    clearTimeout(timer);
    timer = setTimeout(open, retryDelay(failures));
    failures += 1;
  }

  function onVisibility() {
    clearTimeout(timer);
    if (document.hidden) closeLater();
    else if (!socket) open();
  }

  function closeLater() {
    timer = setTimeout(closeHidden, SOCKET_HIDDEN_SECONDS * 1000);
  }

  function closeHidden() {
    if (isExpecting()) return closeLater();
    const mine = socket;
    socket = null;
    mine?.close();
  }

  function end() {
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", onVisibility);
  }

  document.addEventListener("visibilitychange", onVisibility);
  onVisibility();
}
