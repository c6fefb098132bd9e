// Upload of a file in parts. It goes on after a lost connection, with the parts that the server lacks.

import { retryDelay } from "./backoff.js";
import { Refused, requestJson } from "./requests.js";

// After these failures in a row, which take about half a minute, a person must try again.
const FAILURES_MAX = 6;

export class Upload {
  // Handlers: progress(share), and lost(), while it waits for another attempt.
  constructor(file, handlers) {
    this.file = file;
    this.handlers = handlers;
    this.id = ""; // on the server; empty until it knows the file
    this.partBytes = 0;
    this.stored = new Set(); // numbers of the parts that the server has
    this.abort = new AbortController();
    this.retryNow = () => {}; // ends the wait for another attempt
  }

  // Resolve to the complete file. Throws Refused, TypeError after too many failures, or AbortError after cancel().
  async send(token) {
    for (let failures = 0; ; failures += 1) {
      const before = this.stored.size;
      try {
        return await this.#attempt(token);
      } catch (error) {
        if (this.stored.size > before) failures = 0;
        const isTemporary = error instanceof Refused ? error.status >= 500 : error instanceof TypeError;
        if (!isTemporary || failures >= FAILURES_MAX) throw error;
        this.handlers.lost();
        await this.#wait(retryDelay(failures));
      }
    }
  }

  cancel() {
    this.abort.abort();
    this.retryNow();
  }

  async #attempt(token) {
    const { name, size, type } = this.file;
    if (this.id) {
      const found = await this.#request(this.#address, {});
      if (found.file) return found.file;
      this.stored = new Set(found.parts);
    } else {
      const made = await this.#request("/api/v1/files", { method: "POST", token, json: { name, size, mime: type } });
      this.id = made.id;
      this.partBytes = made.part_bytes;
    }
    this.#showProgress();
    const count = Math.ceil(size / this.partBytes);
    for (let n = 0; n < count; n += 1) {
      if (this.stored.has(n)) continue;
      const body = this.file.slice(n * this.partBytes, (n + 1) * this.partBytes);
      const answer = await this.#request(`${this.#address}/parts/${n}`, { method: "PUT", token, body });
      if (answer.sha256) return answer;
      this.stored.add(n);
      this.#showProgress();
    }
    throw new TypeError("The server lacks parts of the file.");
  }

  get #address() {
    return `/api/v1/files/${this.id}`;
  }

  #request(address, options) {
    return requestJson(address, { ...options, signal: this.abort.signal });
  }

  #showProgress() {
    this.handlers.progress(Math.min(1, (this.stored.size * this.partBytes) / this.file.size));
  }

  #wait(milliseconds) {
    return /** @type {Promise<void>} */ (new Promise((resolve) => {
      const timer = setTimeout(finish, milliseconds);
      addEventListener("online", finish);
      this.retryNow = finish;
      function finish() {
        clearTimeout(timer);
        removeEventListener("online", finish);
        resolve();
      }
    }));
  }
}
