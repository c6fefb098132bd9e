// Follows a run to its [DONE]: over the response to the ask, then, across lost connections, restarts and hidden
// tabs, over connections of its own.

import { retryDelay } from "./backoff.js";
import { EventReader } from "./requests.js";

// A browser has six connections to a server (HTTP/1.1), so a hidden tab closes its own after this time.
const STREAM_HIDDEN_SECONDS = 10;
const RETRIES_MAX = 2; // the delay before a retry grows to 2 s

// Follow the run whose events are at `address` from the event after `seq`, first over `reader`, if there is one.
// Handlers: event(name, data), lost(), back(), done(), and refused(status) if the user is signed out (401), may not
// read it any more (403), or the run is gone (404). Return a function that ends it.
export function followEvents(address, seq, handlers, reader = null) {
  let failures = 0;
  let timer = 0;

  async function read() {
    clearTimeout(timer);
    reader ??= new EventReader(`${address}?view=html&after=${seq}`);
    const mine = reader;
    for (;;) {
      const event = await mine.next().catch((error) => error);
      if (reader !== mine) return; // closed
      if (event instanceof Error) return onError(event);
      failures = 0;
      handlers.back();
      if (!event) return finish();
      seq = event.seq;
      handlers.event(event.name, event.data);
    }
  }

  function onError(error) {
    const status = error.status; // of a refusal
    if ([401, 403, 404].includes(status)) {
      end();
      return handlers.refused(status);
    }
    handlers.lost();
    reader = null;
    if (!document.hidden) timer = setTimeout(read, retryDelay(Math.min(failures, RETRIES_MAX)));
    failures += 1;
  }

  function finish() {
    end();
    handlers.done();
  }

  function end() {
    close();
    document.removeEventListener("visibilitychange", onVisibility);
    removeEventListener("online", onVisibility);
  }

  function close() {
    clearTimeout(timer);
    const mine = reader;
    reader = null;
    mine?.close();
  }

  function onVisibility() {
    if (document.hidden) {
      clearTimeout(timer);
      timer = setTimeout(close, STREAM_HIDDEN_SECONDS * 1000);
    } else if (reader) clearTimeout(timer);
    else read();
  }

  document.addEventListener("visibilitychange", onVisibility);
  addEventListener("online", onVisibility);
  read();
  return end;
}
