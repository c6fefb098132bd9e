// Asking: one POST. Its stream is read up to run.started; the run is then followed like any other.

export class Refused extends Error {
  // `retryAfter`: in how many seconds it may be asked again, where that is known.
  constructor(status, error, retryAfter = 0) {
    super(error.detail);
    this.status = status;
    this.code = error.code;
    this.retryAfter = retryAfter;
  }
}

// Resolves to run.started's data. Throws Refused, or a TypeError where there is no connection.
export async function ask(body, key, token) {
  const response = await fetch("/chat/stream", {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRFToken": token, "Idempotency-Key": key },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw await refusal(response);
  return await started(response.body.getReader());
}

export async function stop(run, token) {
  const response = await fetch(`/chat/runs/${run}/stop`, { method: "POST", headers: { "X-CSRFToken": token } });
  if (!response.ok) throw await refusal(response);
}

// A random UUID. crypto.randomUUID is missing where a page comes over plain http from another machine.
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

async function started(reader) {
  const decoder = new TextDecoder();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new TypeError("The stream ended before it began.");
    text += decoder.decode(value, { stream: true });
    const found = /^event: run\.started\ndata: (.*)\n\n/m.exec(text);
    if (!found) continue;
    reader.cancel().catch(() => {}); // the connection may have broken by itself
    return JSON.parse(found[1]);
  }
}

async function refusal(response) {
  const unreadable = { code: "", detail: `${response.status} ${response.statusText}` };
  const body = await response.json().catch(() => ({}));
  const seconds = Number(response.headers.get("Retry-After")) || 0;
  return new Refused(response.status, body.error ?? unreadable, seconds);
}
