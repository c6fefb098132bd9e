// Following a run by EventSource, through lost connections, restarts and hidden tabs, to its [DONE].

import { delay } from "./patience.js";

const NAMES = [
  "run.started", "html", "thought", "tool.called", "tool.returned", "file", "agent", "replace",
  "run.completed", "run.stopped", "run.failed", "run.expired",
];

// A browser has six connections a server (HTTP/1.1): a tab that nobody looks at gives its one back.
const HIDDEN_SECONDS = 10;

// Follow `run` from behind event `seq`. Handlers: event(name, data), lost(), back(), done(), and
// refused(status) where the person is signed out (401) or the run is gone (404).
export function follow(run, seq, handlers) {
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
    source.onmessage = finish; // [DONE] is all that has no name
    for (const name of NAMES) source.addEventListener(name, (event) => take(name, event));
    source.onerror = lost;
  }

  function take(name, event) {
    seq = Number(event.lastEventId.split(":")[1]);
    handlers.event(name, JSON.parse(event.data));
  }

  // A broken connection is opened again by the browser; an answer other than 200 closes it for good.
  function lost() {
    handlers.lost();
    if (source.readyState !== EventSource.CLOSED) return;
    clearTimeout(timer);
    timer = setTimeout(lookAndOpen, delay(failures));
    failures += 1;
  }

  // An EventSource does not tell why it was closed: ask.
  async function lookAndOpen() {
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
    document.removeEventListener("visibilitychange", look);
  }

  function close() {
    clearTimeout(timer);
    source?.close();
    source = null;
  }

  function look() {
    clearTimeout(timer);
    if (document.hidden) timer = setTimeout(close, HIDDEN_SECONDS * 1000);
    else if (source === null || source.readyState === EventSource.CLOSED) open();
  }

  document.addEventListener("visibilitychange", look);
  open();
}
