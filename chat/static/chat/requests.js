// The page's requests: the POSTs that ask and stop, and the GET of a page.

import { retryDelay, sleep } from "./backoff.js";
import { parsePage } from "./trusted_html.js";

export class Refused extends Error {
  // `retryAfter`: seconds until a retry is allowed; 0 if unknown.
  constructor(status, error, retryAfter = 0) {
    super(error.detail);
    this.status = status;
    this.code = error.code;
    this.retryAfter = retryAfter;
  }
}

// Resolve to run.started's data; event_stream.js reads the rest. Throws Refused, or a TypeError without a connection.
export async function postAsk(body, key, token) {
  const response = await fetch("/chat/stream", {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRFToken": token, "Idempotency-Key": key },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw await refusalOf(response);
  return await readStarted(response.body.getReader());
}

export async function postStop(run, token) {
  const response = await fetch(`/chat/runs/${run}/stop`, { method: "POST", headers: { "X-CSRFToken": token } });
  if (!response.ok) throw await refusalOf(response);
}

// Resolve to the parsed page, this one by default. Throws Refused (401, 404), or a TypeError without a
// connection.
export async function fetchPage(address = location.href) {
  const response = await fetch(address, { headers: { Accept: "text/html" } });
  if (response.redirected) throw new Refused(401, { code: "not_signed_in", detail: "" });
  if (!response.ok) throw new Refused(response.status, { code: "", detail: "" });
  return parsePage(await response.text());
}

// Call fetchPage until it succeeds or is refused with a 4xx; `lost` is called after each temporary failure.
export async function fetchPageRetrying(address, lost = () => {}) {
  for (let failures = 0; ; failures += 1) {
    try {
      return await fetchPage(address);
    } catch (error) {
      if (error instanceof Refused && error.status < 500) throw error;
      lost();
      await sleep(retryDelay(failures));
    }
  }
}

// Return a random UUID. crypto.randomUUID is missing on pages over plain HTTP from another machine.
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

async function readStarted(reader) {
  const decoder = new TextDecoder();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new TypeError("The stream ended before it began.");
    text += decoder.decode(value, { stream: true });
    const found = /^event: run\.started\ndata: (.*)\n\n/m.exec(text);
    if (!found) continue;
    reader.cancel().catch(() => {}); // the connection may be broken already
    return JSON.parse(found[1]);
  }
}

async function refusalOf(response) {
  const unreadable = { code: "", detail: `${response.status} ${response.statusText}` };
  const body = await response.json().catch(() => ({}));
  const seconds = Number(response.headers.get("Retry-After")) || 0;
  return new Refused(response.status, body.error ?? unreadable, seconds);
}
