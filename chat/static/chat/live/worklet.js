// Audio of a call, on the browser's audio thread: what the microphone hears as frames of 16 kHz PCM, and the queue of
// the answer's PCM. Their sides on the page are in microphone.js and speaker.js.

const { AudioWorkletProcessor, registerProcessor, sampleRate } = /** @type {any} */ (globalThis);

const SENT_RATE = 16000;
const FRAME = 640; // samples: 40 ms
const ZEROS = 12; // zero crossings of the filter on each side
const PHASES = 64; // places between two samples for which the filter is computed
const CUTOFF = 0.92; // of the lower of the two Nyquist frequencies
const BLOCK = 128; // samples that a browser processes at a time

// Converts between two rates by a windowed sinc, which keeps what the lower rate cannot hold out of it.
class Resampler {
  constructor(from, to) {
    this.step = from / to;
    this.half = Math.ceil(ZEROS * Math.max(1, this.step));
    const cutoff = CUTOFF * Math.min(1, to / from);
    this.filters = Array.from({ length: PHASES }, (_each, phase) => this.#filter(phase / PHASES, cutoff));
    this.kept = new Float32Array(2 * this.half + 4 * BLOCK);
    this.count = this.half; // of samples in `kept`; the first ones are silence before the beginning
    this.at = this.half; // place of the next sample to write
  }

  // Call `write` with each sample that can be computed now that `samples` have come.
  push(samples, write) {
    this.kept.set(samples, this.count);
    this.count += samples.length;
    for (;;) {
      let place = Math.floor(this.at);
      let phase = Math.round((this.at - place) * PHASES);
      if (phase === PHASES) [place, phase] = [place + 1, 0];
      if (place + this.half >= this.count) break;
      const filter = this.filters[phase];
      const first = place - this.half;
      let sum = 0;
      for (let n = 0; n < filter.length; n += 1) sum += filter[n] * this.kept[first + n];
      write(sum);
      this.at += this.step;
    }
    const done = Math.max(0, Math.floor(this.at) - this.half);
    this.kept.copyWithin(0, done, this.count);
    this.count -= done;
    this.at -= done;
  }

  #filter(offset, cutoff) {
    const filter = Float32Array.from({ length: 2 * this.half + 1 }, (_each, n) => {
      const x = n - this.half - offset;
      const window = 0.5 + 0.5 * Math.cos((Math.PI * x) / (this.half + 1));
      return Math.abs(x) > this.half + 1 ? 0 : window * (x ? Math.sin(Math.PI * cutoff * x) / (Math.PI * x) : cutoff);
    });
    const sum = filter.reduce((total, each) => total + each, 0);
    return filter.map((each) => each / sum);
  }
}

// Posts frames while it is on; after the last one, null.
class Recorder extends AudioWorkletProcessor {
  constructor() {
    super();
    this.resampler = new Resampler(sampleRate, SENT_RATE);
    this.frame = new Int16Array(FRAME);
    this.count = 0;
    this.isOn = false;
    this.port.onmessage = ({ data }) => this.#turn(data.isOn);
  }

  process([input]) {
    if (input[0]) this.resampler.push(input[0], (sample) => this.isOn && this.#write(sample));
    return true;
  }

  #turn(isOn) {
    if (this.isOn && !isOn) {
      if (this.count) this.#post();
      this.port.postMessage(null);
    }
    this.isOn = isOn;
  }

  #write(sample) {
    this.frame[this.count] = Math.round(Math.max(-1, Math.min(1, sample)) * 32767);
    this.count += 1;
    if (this.count === FRAME) this.#post();
  }

  #post() {
    const frame = this.frame.slice(0, this.count);
    this.port.postMessage(frame.buffer, [frame.buffer]);
    this.count = 0;
  }
}

const GATHER_SECONDS = 0.08; // of sound to have before it begins, or begins again after a gap
const REPORT_SECONDS = 0.2;
const FADE_SECONDS = 0.01; // to silence without a click

// Plays PCM in the order in which it comes. Posts { played, isPlaying, isFlushed }, `played` in samples of this answer.
class Player extends AudioWorkletProcessor {
  constructor() {
    super();
    this.queue = [];
    this.queued = 0; // samples
    this.offset = 0; // in the first of the queue
    this.waited = 0; // samples of silence since sound came
    this.played = 0;
    this.reported = 0;
    this.isPlaying = false;
    this.fade = 0; // samples left until silence
    this.port.onmessage = ({ data }) => this.#receive(data);
  }

  process(_inputs, [[output]]) {
    if (this.fade) this.#fadeOut(output);
    else if (this.#mayPlay(output.length)) this.#play(output);
    return true;
  }

  #receive(data) {
    if (data instanceof ArrayBuffer) {
      if (this.fade) this.#empty();
      this.queue.push(new Int16Array(data));
      this.queued += data.byteLength / 2;
      return;
    }
    this.#report(true);
    this.played = 0;
    this.reported = 0;
    if (this.isPlaying) this.fade = Math.ceil(FADE_SECONDS * sampleRate);
    else this.#empty();
  }

  #mayPlay(count) {
    if (!this.queued) return false;
    if (!this.isPlaying && this.queued < GATHER_SECONDS * sampleRate && this.waited < GATHER_SECONDS * sampleRate) {
      this.waited += count;
      return false;
    }
    return true;
  }

  #play(output) {
    const count = this.#take(output);
    this.played += count;
    const wasPlaying = this.isPlaying;
    this.isPlaying = this.queued > 0;
    if (!this.isPlaying) this.waited = 0;
    if (this.isPlaying !== wasPlaying || this.played - this.reported >= REPORT_SECONDS * sampleRate) this.#report();
  }

  // Write what there is, and return its number of samples.
  #take(output) {
    let count = 0;
    while (count < output.length && this.queue.length) {
      const first = this.queue[0];
      output[count] = first[this.offset] / 32768;
      count += 1;
      this.offset += 1;
      if (this.offset < first.length) continue;
      this.queue.shift();
      this.offset = 0;
    }
    this.queued -= count;
    return count;
  }

  #fadeOut(output) {
    const whole = Math.ceil(FADE_SECONDS * sampleRate);
    const count = this.#take(output);
    for (let n = 0; n < count; n += 1) output[n] *= Math.max(0, this.fade - n) / whole;
    this.fade = count < output.length ? 0 : Math.max(0, this.fade - count);
    if (!this.fade) this.#empty();
  }

  #empty() {
    this.queue = [];
    this.queued = 0;
    this.offset = 0;
    this.waited = 0;
    this.fade = 0;
    if (this.isPlaying) {
      this.isPlaying = false;
      this.port.postMessage({ played: 0, isPlaying: false, isFlushed: false });
    }
  }

  #report(isFlushed = false) {
    this.reported = this.played;
    this.port.postMessage({ played: this.played, isPlaying: this.isPlaying && !isFlushed, isFlushed });
  }
}

registerProcessor("parley-recorder", Recorder);
registerProcessor("parley-player", Player);
