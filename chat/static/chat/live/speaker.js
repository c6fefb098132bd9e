// The speaker of a call: plays the answer's PCM, and says how much of it was played.

const RATE = 24000; // of what the server sends: the browser converts it
const FLUSH_MS = 250; // a device that has stopped does not answer

export class Speaker {
  // `handlers`: played(milliseconds of this answer), and playing(whether it plays) when that changes.
  constructor(worklet, handlers) {
    this.worklet = worklet;
    this.handlers = handlers;
    this.isPlaying = false;
    this.context = null;
    this.player = null;
    this.last = 0; // milliseconds of this answer that were played, as last reported
    this.flushes = []; // that are under way: { resolve, isReported }
  }

  async open(device = "") {
    this.context = new AudioContext({ sampleRate: RATE, latencyHint: "interactive" });
    await this.context.audioWorklet.addModule(this.worklet);
    if (this.context.state === "closed") return;
    this.player = new AudioWorkletNode(this.context, "parley-player", { numberOfInputs: 0, outputChannelCount: [1] });
    this.player.port.onmessage = ({ data }) => this.#report(data);
    this.player.connect(this.context.destination);
    if (device) await this.use(device);
    await this.context.resume();
  }

  // Play on the device with this id; "" is the browser's choice. Resolve to whether it does.
  async use(device) {
    if (!this.canChoose) return false;
    try {
      await /** @type {any} */ (this.context).setSinkId(device);
    } catch (error) {
      if (!(error instanceof DOMException)) throw error; // it is not connected any more
      return false;
    }
    return true;
  }

  get canChoose() {
    return "setSinkId" in AudioContext.prototype;
  }

  play(pcm) {
    this.player?.port.postMessage(pcm, [pcm]);
  }

  // Drop what was not played. Resolve when `played` has been called.
  flush() {
    return this.#flush(true);
  }

  // Begin an answer: what is left of the one before is dropped, and counts no more.
  begin() {
    this.last = 0;
    this.#flush(false);
  }

  #flush(isReported) {
    if (!this.player) return Promise.resolve();
    this.player.port.postMessage({ flush: true });
    const flushed = new Promise((resolve) => this.flushes.push({ resolve, isReported }));
    return Promise.race([flushed, new Promise((resolve) => setTimeout(resolve, FLUSH_MS))]);
  }

  close() {
    this.player = null;
    if (this.context?.state !== "closed") this.context?.close();
  }

  #report({ played, isPlaying, isFlushed }) {
    if (!this.player) return;
    // What has left the queue is heard later by the latency of the device. At the end all of it counts.
    const seconds = played / this.context.sampleRate - (isPlaying || isFlushed ? this.#latency : 0);
    if (this.flushes.every(({ isReported }) => isReported)) {
      this.last = Math.max(this.last, Math.round(seconds * 1000)); // a second flush has nothing new
      if (played || isFlushed) this.handlers.played(this.last);
    }
    if (isFlushed) this.flushes.shift()?.resolve();
    if (isPlaying === this.isPlaying) return;
    this.isPlaying = isPlaying;
    this.handlers.playing(isPlaying);
  }

  get #latency() {
    return this.context.outputLatency || this.context.baseLatency || 0;
  }
}
