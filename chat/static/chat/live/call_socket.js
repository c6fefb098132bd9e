// The WebSocket of a call: connects again after a loss, for as long as the server keeps the call.

const GRACE_SECONDS = 30;
const UNSENT_MAX = 32 * 1024; // bytes: a second of audio; what is spoken into a slow connection is dropped
const DELAYS = [250, 500, 1000, 2000, 4000]; // milliseconds before a retry

// Codes after which there is no call to come back to: docs/streaming.md.
const FINAL = new Set([1000, 4400, 4401, 4403, 4404, 4408, 4409, 4423, 4429]);

export class CallSocket {
  // `handlers`: frame(frame), audio(pcm), lost() when it connects again, and closed(code, detail), once; the sentence
  // `detail` is the server's, or "".
  constructor(conversation, handlers) {
    this.address = `${location.origin.replace(/^http/, "ws")}/ws/live/${conversation}/`;
    this.handlers = handlers;
    this.call = "";
    this.socket = null;
    this.lostAt = performance.now();
    this.failures = 0;
    this.timer = 0;
    this.isOver = false;
    this.onOnline = () => this.#retryNow();
    addEventListener("online", this.onOnline);
    this.#open();
  }

  get isOpen() {
    return this.lostAt === 0;
  }

  send(frame) {
    if (this.isOpen) this.socket.send(JSON.stringify(frame));
    return this.isOpen;
  }

  sendAudio(pcm) {
    if (this.isOpen && this.socket.bufferedAmount < UNSENT_MAX) this.socket.send(pcm);
  }

  // Hang up: the server ends the call.
  close() {
    this.#end();
    this.socket?.close(1000);
  }

  #open() {
    clearTimeout(this.timer);
    const mine = new WebSocket(this.call ? `${this.address}?call=${this.call}` : this.address);
    mine.binaryType = "arraybuffer";
    let detail = "";
    mine.onmessage = ({ data }) => {
      if (this.isOver) return;
      if (data instanceof ArrayBuffer) return this.handlers.audio(data);
      const frame = JSON.parse(data);
      if (frame.type === "ready") this.#ready(frame);
      if (frame.type === "error") detail = frame.detail;
      this.handlers.frame(frame);
    };
    mine.onclose = ({ code }) => this.socket === mine && this.#onClose(code, detail);
    this.socket = mine;
  }

  #ready({ call }) {
    this.call = call;
    this.lostAt = 0;
    this.failures = 0;
  }

  #onClose(code, detail) {
    if (this.isOver) return;
    this.socket = null;
    if (this.isOpen) this.lostAt = performance.now();
    const isLate = performance.now() - this.lostAt > GRACE_SECONDS * 1000;
    if (FINAL.has(code) || isLate) {
      this.#end();
      return this.handlers.closed(code, detail);
    }
    this.handlers.lost();
    const delay = DELAYS[Math.min(this.failures, DELAYS.length - 1)];
    this.failures += 1;
    this.timer = setTimeout(() => this.#open(), delay * (0.75 + Math.random() / 2));
  }

  #retryNow() {
    if (!this.socket && !this.isOver) this.#open();
  }

  #end() {
    this.isOver = true;
    this.lostAt ||= performance.now();
    clearTimeout(this.timer);
    removeEventListener("online", this.onOnline);
  }
}
