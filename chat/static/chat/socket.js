// The socket: what changed elsewhere. It says that, and never how: whoever is told reads it over HTTP.

import { delay } from "./patience.js";

// A tab that nobody looks at gives its socket back; on its return it hears what it missed.
const HIDDEN_SECONDS = 60;
// A socket that lasted so long was a good one: the next failure is a first one.
const GOOD_SECONDS = 10;
const SIGNED_OUT = 4401;

// Handlers: after(), the number of the last change that the page shows; told(change); and signedOut(),
// which resolves to whether the person is still signed in after all (with a new session).
export function listen({ after, told, signedOut }) {
  let socket = null;
  let failures = 0;
  let timer = 0;

  function open() {
    clearTimeout(timer);
    const opened = Date.now();
    const mine = new WebSocket(`${location.origin.replace(/^http/, "ws")}/ws/?after=${after()}`);
    mine.onmessage = (event) => told(JSON.parse(event.data));
    mine.onclose = (event) => {
      if (socket !== mine) return; // given back
      socket = null;
      if (Date.now() - opened > GOOD_SECONDS * 1000) failures = 0;
      ended(event.code);
    };
    socket = mine;
  }

  async function ended(code) {
    if (code === SIGNED_OUT && !(await signedOut())) return leave();
    if (document.hidden || socket) return;
    clearTimeout(timer);
    timer = setTimeout(open, delay(failures));
    failures += 1;
  }

  function look() {
    clearTimeout(timer);
    if (document.hidden) timer = setTimeout(giveBack, HIDDEN_SECONDS * 1000);
    else if (!socket) open();
  }

  function giveBack() {
    const mine = socket;
    socket = null;
    mine?.close();
  }

  function leave() {
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", look);
  }

  document.addEventListener("visibilitychange", look);
  look();
}
