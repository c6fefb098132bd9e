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

// The server-sent events of a response, one by one.
export class EventReader {
  constructor(address, options = {}) {
    this.abort = new AbortController();
    this.response = fetch(address, { ...options, signal: this.abort.signal });
    this.reader = null;
    this.text = ""; // received, and not yet read
  }

  // Resolve to the next event, or to null after [DONE]. Throws Refused, or a TypeError without a connection.
  async next() {
    this.reader ??= await this.#open();
    for (;;) {
      const end = this.text.indexOf("\n\n");
      if (end >= 0) {
        const [frame, text] = [this.text.slice(0, end), this.text.slice(end + 2)];
        this.text = text;
        return parseFrame(frame);
      }
      const { done, value } = await this.reader.read();
      if (done) throw new TypeError("The stream ended without [DONE].");
      this.text += value;
    }
  }

  close() {
    this.response.catch(() => {}); // aborted
    this.abort.abort();
  }

  async #open() {
    const response = await this.response;
    if (!response.ok) throw await refusalOf(response);
    if (response.status === 204) this.text = "id: 0\ndata: [DONE]\n\n"; // all of the run was read before
    return (response.body ?? new Blob().stream()).pipeThrough(new TextDecoderStream()).getReader();
  }
}

// Resolve to run.started's data, and to the reader of the events after it; or to the place of a queued question.
// Throws as the reader's next() does.
export async function postAsk(body, key, token) {
  const reader = new EventReader("/chat/stream?view=html", {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRFToken": token, "Idempotency-Key": key },
    body: JSON.stringify(body),
  });
  const response = await reader.response;
  if (response.status === 202) return { queued: await response.json() };
  return { started: (await reader.next()).data, reader };
}

export const withdrawQueued = (id, token) => changeQueued(`/api/v1/queued/${id}`, "DELETE", token);

export const sendQueued = (id, token) => changeQueued(`/api/v1/queued/${id}/send`, "POST", token);

async function changeQueued(address, method, token) {
  const response = await fetch(address, { method, headers: { "X-CSRFToken": token } });
  if (!response.ok) throw await refusalOf(response);
}

export async function postStop(run, token) {
  const response = await fetch(`/chat/runs/${run}/stop`, { method: "POST", headers: { "X-CSRFToken": token } });
  if (!response.ok) throw await refusalOf(response);
}

// Resolve to the JSON of an answer; an answer without a body is null. `json` or `body` is sent. Throws as the reader's
// next() does.
export async function requestJson(address, { method = "GET", token = "", json = undefined, body = undefined, signal = undefined } = {}) {
  const type = json ? "application/json" : "application/octet-stream";
  const headers = method === "GET" ? {} : { "Content-Type": type, "X-CSRFToken": token };
  const response = await fetch(address, { method, headers, body: json ? JSON.stringify(json) : body, signal });
  if (!response.ok) throw await refusalOf(response);
  return response.status === 204 ? null : await response.json();
}

export async function putFeedback(message, feedback, token) {
  const response = await fetch(`/api/v1/messages/${message}/feedback`, {
    method: "PUT",
    headers: { "Content-Type": "application/json", "X-CSRFToken": token },
    body: JSON.stringify(feedback),
  });
  if (!response.ok) throw await refusalOf(response);
}

// Change these fields of a conversation; without fields, delete it. Throws as postStop does.
export const patchConversation = (conversation, fields) => change(conversation, fields ? "PATCH" : "DELETE", fields);

// Undo a deletion. Throws as postStop does.
export const restoreConversation = (conversation) => change(`${conversation}/restore`, "POST", null);

async function change(path, method, fields) {
  const token = /** @type {HTMLInputElement} */ (document.querySelector("#preferences [name=csrfmiddlewaretoken]"));
  const response = await fetch(`/api/v1/conversations/${path}`, {
    method,
    headers: { "Content-Type": "application/json", "X-CSRFToken": token.value },
    body: fields && JSON.stringify(fields),
  });
  if (!response.ok) throw await refusalOf(response);
}

// Return the address of this page without the message that it was opened at, which may be on another branch by now.
export function pageAddress() {
  const { pathname, searchParams } = new URL(location.href);
  for (const name of ["message", "version"]) searchParams.delete(name);
  return searchParams.size ? `${pathname}?${searchParams}` : pathname;
}

// Resolve to the parsed page, this one by default. Throws Refused (401, 404), or a TypeError without a
// connection.
export async function fetchPage(address = pageAddress(), options = {}) {
  const response = await fetch(address, { headers: { Accept: "text/html" }, ...options });
  if (response.redirected && new URL(response.url).pathname !== location.pathname) throw new Refused(401, { code: "not_signed_in", detail: "" });
  const page = parsePage(await response.text());
  if (!response.ok) throw new Refused(response.status, { code: "", detail: page.getElementById("notice")?.textContent.trim() ?? "" });
  return page;
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

// Return a frame of docs/streaming.md as { seq, name, data }, or null for [DONE].
function parseFrame(frame) {
  const field = (name) => new RegExp(`^${name}: (.*)$`, "m").exec(frame)?.[1];
  if (field("data") === "[DONE]") return null;
  return { seq: Number(field("id").split(":")[1]), name: field("event"), data: JSON.parse(field("data")) };
}

async function refusalOf(response) {
  const unreadable = { code: "", detail: `${response.status} ${response.statusText}` };
  const body = await response.json().catch(() => ({}));
  const seconds = Number(response.headers.get("Retry-After")) || 0;
  return new Refused(response.status, body.error ?? unreadable, seconds);
}
