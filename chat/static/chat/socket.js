// The WebSocket that reports changes made elsewhere. It sends no content: the page fetches that over HTTP.

import { retryDelay } from "./backoff.js";

// A hidden tab closes its socket after this time. When it is visible again, it receives the missed changes.
const SOCKET_HIDDEN_SECONDS = 60;
// After a socket that lasted this long, the count of failures starts again.
const STABLE_SECONDS = 10;

// Handlers: lastChange() returns the number of the last change that the page shows; onChange(change); and
// isSignedIn() resolves to whether the user is still signed in, perhaps with a new session.
export function listen({ lastChange, onChange, isSignedIn }) {
  let socket = null;
  let failures = 0;
  let timer = 0;

  function open() {
    clearTimeout(timer);
    const opened = Date.now();
    const mine = new WebSocket(`${location.origin.replace(/^http/, "ws")}/ws/?after=${lastChange()}`);
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
    if (document.hidden || socket) return;
    clearTimeout(timer);
    timer = setTimeout(open, retryDelay(failures));
    failures += 1;
  }

  function onVisibility() {
    clearTimeout(timer);
    if (document.hidden) timer = setTimeout(closeHidden, SOCKET_HIDDEN_SECONDS * 1000);
    else if (!socket) open();
  }

  function closeHidden() {
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
