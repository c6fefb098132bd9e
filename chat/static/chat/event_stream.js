// An EventSource that follows a run to its [DONE], across lost connections, restarts and hidden tabs.

import { retryDelay } from "./backoff.js";

// A browser has six connections to a server (HTTP/1.1), so a hidden tab closes its own after this time.
const STREAM_HIDDEN_SECONDS = 10;

// Follow `run` from the event after `seq`. Handlers: event(name, data), lost(), back(), done(), and
// refused(status) if the user is signed out (401) or the run is gone (404).
export function followEvents(run, seq, handlers) {
  let source = null;
  let failures = 0;
  let timer = 0;

  function open() {
    clearTimeout(timer);
    source = new EventSource(`/chat/runs/${run}/events?view=html&after=${seq}`);
    source.onopen = () => {
      failures = 0;
      handlers.back();
    };
    source.onmessage = finish; // only [DONE] has no event name
    for (const name of document.body.dataset.events.split(" ")) {
      source.addEventListener(name, (event) => handle(name, event));
    }
    source.onerror = onError;
  }

  function handle(name, event) {
    seq = Number(event.lastEventId.split(":")[1]);
    handlers.event(name, JSON.parse(event.data));
  }

  // The browser reopens a broken connection; after a status other than 200 it does not.
  function onError() {
    handlers.lost();
    if (source.readyState !== EventSource.CLOSED) return;
    clearTimeout(timer);
    timer = setTimeout(reopen, retryDelay(failures));
    failures += 1;
  }

  // An EventSource hides why it was closed, so request the run.
  async function reopen() {
    const response = await fetch(`/api/v1/runs/${run}`).catch(() => null);
    if (source === null || source.readyState !== EventSource.CLOSED) return;
    if (response && (response.status === 401 || response.status === 404)) {
      end();
      handlers.refused(response.status);
    } else if (response?.ok && (await response.json()).ended_at) {
      finish();
    } else {
      open();
    }
  }

  function finish() {
    end();
    handlers.back();
    handlers.done();
  }

  function end() {
    close();
    document.removeEventListener("visibilitychange", onVisibility);
  }

  function close() {
    clearTimeout(timer);
    source?.close();
    source = null;
  }

  function onVisibility() {
    clearTimeout(timer);
    if (document.hidden) timer = setTimeout(close, STREAM_HIDDEN_SECONDS * 1000);
    else if (source === null || source.readyState === EventSource.CLOSED) open();
  }

  document.addEventListener("visibilitychange", onVisibility);
  open();
}
