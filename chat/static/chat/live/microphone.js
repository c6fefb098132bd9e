// The microphone of a call: frames of 16 kHz PCM, and how loud they are.

const LEVEL_FLOOR = -55; // dBFS that count as silence
const CONSTRAINTS = { channelCount: 1, echoCancellation: true, noiseSuppression: true, autoGainControl: true };

export class Microphone {
  // `handlers`: frame(pcm), level(0 to 1), stopped() after the last frame, and lost() if the device is gone.
  constructor(worklet, handlers) {
    this.worklet = worklet;
    this.handlers = handlers;
    this.context = null;
    this.stream = null;
    this.recorder = null;
    this.isOn = false;
  }

  // Ask for the device with this id, or for any, and connect it. Throws what getUserMedia throws.
  async open(device = "") {
    const wanted = device ? { ...CONSTRAINTS, deviceId: { exact: device } } : CONSTRAINTS;
    const stream = await navigator.mediaDevices.getUserMedia({ audio: wanted }).catch((error) => {
      if (!device || error.name !== "OverconstrainedError") throw error;
      return navigator.mediaDevices.getUserMedia({ audio: CONSTRAINTS }); // the remembered one is not connected
    });
    this.#disconnect();
    this.stream = stream;
    const context = new AudioContext();
    this.context = context;
    await context.audioWorklet.addModule(this.worklet);
    if (this.context !== context) return; // closed meanwhile
    const source = context.createMediaStreamSource(stream);
    this.recorder = new AudioWorkletNode(context, "parley-recorder", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
    this.recorder.port.onmessage = ({ data }) => (data ? this.#frame(data) : this.handlers.stopped());
    source.connect(this.recorder);
    stream.getAudioTracks()[0].onended = () => this.stream === stream && this.handlers.lost();
    this.turn(this.isOn);
    await context.resume();
  }

  get device() {
    return this.stream?.getAudioTracks()[0].getSettings().deviceId ?? "";
  }

  // Send frames, or none.
  turn(isOn) {
    this.isOn = isOn;
    this.recorder?.port.postMessage({ isOn });
    if (!isOn) this.handlers.level(0);
  }

  close() {
    this.#disconnect();
    this.stream = null;
  }

  #frame(pcm) {
    if (this.isOn) this.handlers.level(levelOf(new Int16Array(pcm)));
    this.handlers.frame(pcm);
  }

  #disconnect() {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.context?.close();
    this.context = null;
    this.recorder = null;
  }
}

// Return how loud it is, from 0 to 1, on a scale of decibels.
function levelOf(samples) {
  let sum = 0;
  for (const sample of samples) sum += (sample / 32768) ** 2;
  const decibels = 10 * Math.log10(sum / samples.length || 1e-10);
  return Math.max(0, Math.min(1, 1 - decibels / LEVEL_FLOOR));
}
