// A call: the member speaks with the agent of a conversation. Its turns are runs, which the page follows as any other.

import { CallBar } from "./call_bar.js";
import { CallSocket } from "./call_socket.js";
import { choose, chosen } from "./choices.js";
import { Microphone } from "./microphone.js";
import { Speaker } from "./speaker.js";
import { Turns } from "./turns.js";

const GAP_MS = 400; // a shorter silence in an answer is still speech
const LAST_SECONDS = 60; // before the end, when it is announced

// getUserMedia's errors, and the name of the sentence.
const NO_MICROPHONE = {
  NotAllowedError: "microphone-denied",
  SecurityError: "microphone-denied",
  NotFoundError: "microphone-missing",
  OverconstrainedError: "microphone-missing",
};

// Close codes that have a sentence here, for a close that the server has not explained.
const EXPLAINED = new Set([4403, 4408, 4409, 4423, 4429, 4503]);

// Begin a call, and resolve to it; to null if there is no microphone or no conversation: a notice says why.
// `page` is what the call uses of the page's modules: see speaking.js.
export async function startCall(page) {
  await loadStyle(page.composer.form.dataset.callStyle);
  const call = new Call(page);
  try {
    await call.openAudio();
  } catch (error) {
    if (!(error instanceof DOMException)) throw error;
    call.end();
    page.notifyByName(NO_MICROPHONE[error.name] ?? "microphone-failed");
    return null;
  }
  const conversation = call.isOver ? null : await page.openConversation();
  if (conversation && !call.isOver) call.connect(conversation);
  else call.end();
  return call.isOver ? null : call;
}

// Throws a TypeError without a connection, as fetch does.
function loadStyle(href) {
  if (document.querySelector(`link[href="${href}"]`)) return Promise.resolve();
  const link = document.createElement("link");
  return new Promise((resolve, reject) => {
    link.onload = resolve;
    link.onerror = () => {
      link.remove();
      reject(new TypeError("The style sheet did not load."));
    };
    link.rel = "stylesheet";
    link.href = href;
    document.head.append(link);
  });
}

class Call {
  constructor(page) {
    this.page = page;
    this.turns = new Turns(page);
    this.isOver = false;
    this.isConnected = false;
    this.wasConnected = false;
    this.isMuted = false;
    this.words = null; // heard or typed before the run of their turn is known: { text, final }
    this.run = ""; // of the newest turn
    this.isInTurn = false;
    this.isAsked = false; // the question is whole, and its answer has not ended
    this.isDropping = false; // the answer was stopped here: what still comes of it is not played
    this.isEarly = false; // sound of the next answer has come before its run
    this.isSpeaking = false;
    this.after = "mute"; // the frame that follows the last one of the microphone
    this.gap = 0; // timer
    this.endsAt = 0; // on the clock of performance
    const { worklet } = page.composer.form.dataset;
    this.microphone = new Microphone(worklet, {
      frame: (pcm) => this.socket?.sendAudio(pcm),
      level: (level) => this.bar?.showLevel(level),
      stopped: () => this.socket?.send({ type: this.after }),
      lost: () => this.#onMicrophoneLost(),
    });
    this.speaker = new Speaker(worklet, {
      played: (ms) => this.socket?.send({ type: "played", ms }),
      playing: (isPlaying) => this.#onPlaying(isPlaying),
    });
    document.body.dataset.call = "connecting";
    this.bar = new CallBar(page, {
      talk: (isOn) => this.#talk(isOn),
      mute: (isMuted) => this.#mute(isMuted),
      interrupt: () => this.stop(),
      mode: () => this.#listen(),
      microphone: (device) => this.#useMicrophone(device),
      speaker: (device) => this.#useSpeaker(device),
      hangUp: () => this.hangUp(),
    });
    this.onLeave = () => this.socket?.close();
    this.onDevices = () => this.bar.listDevices(this.microphone.device, this.speaker.canChoose);
    addEventListener("pagehide", this.onLeave);
    navigator.mediaDevices.addEventListener("devicechange", this.onDevices);
    this.clock = setInterval(() => this.#showLeft(), 1000);
    this.#showSign();
  }

  // Throws what getUserMedia throws.
  async openAudio() {
    await this.microphone.open(chosen("microphone"));
    await this.speaker.open(chosen("speaker"));
    if (this.isOver) return this.#closeAudio(); // hung up while the browser asked
    await this.onDevices();
  }

  connect(conversation) {
    this.socket = new CallSocket(conversation, {
      frame: (frame) => this.#onFrame(frame),
      audio: (pcm) => this.#onAudio(pcm),
      lost: () => this.#onLost(),
      closed: (code, detail) => this.#onClosed(code, detail),
    });
  }

  // Say `text` in writing; return whether it could be sent.
  read(text) {
    if (!this.socket?.send({ type: "text", text })) {
      this.page.notifyByName("call-not-connected");
      return false;
    }
    this.page.clearNotice();
    this.words = { text, final: true };
    this.isAsked = true;
    this.#showSign();
    return true;
  }

  // Stop the answer. What was heard of it goes first: the server keeps only that.
  async stop() {
    this.isDropping = true;
    await this.speaker.flush();
    this.socket?.send({ type: "stop" });
  }

  hangUp() {
    this.socket?.close();
    this.end();
    this.page.announceText(this.page.uiString("call-over"));
  }

  // Leave nothing of the call but its words.
  end() {
    if (this.isOver) return;
    this.isOver = true;
    clearInterval(this.clock);
    clearTimeout(this.gap);
    removeEventListener("pagehide", this.onLeave);
    navigator.mediaDevices.removeEventListener("devicechange", this.onDevices);
    this.#closeAudio();
    const hadFocus = this.bar.section.contains(document.activeElement);
    this.bar.remove();
    delete document.body.dataset.call;
    this.page.onEnd();
    if (hadFocus) this.page.button.focus({ preventScroll: true });
  }

  #closeAudio() {
    this.microphone.close();
    this.speaker.close();
  }

  #onFrame(frame) {
    switch (frame.type) {
      case "ready": return this.#onReady(frame.seconds);
      case "heard": return this.#onHeard(frame);
      case "run": return this.#onRun(frame.run);
      case "interrupted": return this.#onInterrupted();
      case "turn": return this.#onTurnEnd();
      case "error": return this.#onError(frame.detail);
    }
  }

  // `seconds` are left of the call.
  #onReady(seconds) {
    const { uiString, announceText } = this.page;
    document.body.dataset.call = "open";
    announceText(uiString(this.wasConnected ? "call-back" : this.bar.isPush ? "call-begun-push" : "call-begun"));
    this.isConnected = true;
    this.wasConnected = true;
    this.isAsked &&= this.isInTurn;
    if (seconds) this.endsAt = performance.now() + seconds * 1000;
    this.#listen();
  }

  // Until the server names their run, words wait.
  #onHeard({ text, final }) {
    this.isAsked ||= final;
    if (this.isInTurn) this.turns.hear(text, final);
    else this.words = { text, final };
    this.#showSign();
  }

  #onRun(run) {
    const { text, final } = this.words ?? { text: "", final: false };
    this.words = null;
    this.isInTurn = true;
    if (run === this.run) return; // after a loss of the connection
    this.run = run;
    this.isDropping = false;
    if (!this.isEarly) this.speaker.begin();
    this.isEarly = false;
    this.turns.begin(run, text, final);
    this.#showSign();
  }

  #onAudio(pcm) {
    if (this.isDropping) return;
    if (!this.isInTurn && !this.isEarly) {
      this.isEarly = true;
      this.speaker.begin();
    }
    this.speaker.play(pcm);
  }

  // The turn has failed, which its reply says; or there is none.
  #onError(detail) {
    if (!this.isInTurn) this.page.notify(detail);
    this.#onTurnEnd();
  }

  #onInterrupted() {
    this.speaker.flush(); // reports what was played
    this.#onTurnEnd();
  }

  // What has come of the answer is still played.
  #onTurnEnd() {
    this.isInTurn = false;
    this.isEarly = false;
    this.isAsked = Boolean(this.words?.final); // typed words wait for their run
    this.isDropping = false;
    this.#showSign();
  }

  #onLost() {
    const { announceText, uiString } = this.page;
    if (this.isConnected) announceText(uiString("call-reconnecting"));
    this.isConnected = false;
    if (this.wasConnected) document.body.dataset.call = "reconnecting";
    this.#showSign();
  }

  #onClosed(code, detail) {
    const { notify, notifyByName, announceText, uiString } = this.page;
    this.end();
    if (code === 1000) announceText(uiString("call-over"));
    else if (code === 4401) notifyByName("signed-out");
    else if (code === 4404) notifyByName("gone");
    else if (detail) notify(detail);
    else notifyByName(EXPLAINED.has(code) ? `call-${code}` : "call-lost");
  }

  #talk(isOn) {
    if (isOn) {
      if (!this.socket?.send({ type: "start" })) return;
      if (this.isSpeaking) this.speaker.flush();
    } else this.isAsked = true;
    this.after = "end";
    this.microphone.turn(isOn);
    this.#showSign();
  }

  #mute(isMuted) {
    this.isMuted = isMuted;
    this.bar.showMuted(isMuted);
    this.page.announceText(this.page.uiString(isMuted ? "call-muted" : "call-listening"));
    this.#listen();
  }

  // Send what the microphone hears, if it is to be heard.
  #listen() {
    this.after = "mute";
    if (this.bar) this.microphone.turn(this.isConnected && !this.bar.isPush && !this.isMuted);
    this.#showSign();
  }

  #onPlaying(isPlaying) {
    clearTimeout(this.gap);
    const show = () => {
      this.isSpeaking = isPlaying;
      this.#showSign();
    };
    if (isPlaying || !this.isInTurn) show();
    else this.gap = setTimeout(show, GAP_MS);
  }

  #showSign() {
    this.bar?.show(this.#sign());
  }

  #sign() {
    if (!this.isConnected) return this.wasConnected ? "reconnecting" : "connecting";
    if (this.isSpeaking) return "speaking";
    if (this.bar.isPush) return this.bar.isTalking ? "listening" : this.isAsked ? "thinking" : "ready";
    if (this.isAsked) return "thinking";
    return this.isMuted ? "muted" : "listening";
  }

  #showLeft() {
    if (!this.endsAt) return;
    const seconds = Math.max(0, Math.ceil((this.endsAt - performance.now()) / 1000));
    const left = this.bar.showLeft(seconds);
    if (seconds === LAST_SECONDS) this.page.announceText(left);
  }

  async #useMicrophone(device) {
    try {
      await this.microphone.open(device);
      choose("microphone", device);
    } catch (error) {
      if (!(error instanceof DOMException)) throw error;
      this.page.notifyByName(NO_MICROPHONE[error.name] ?? "microphone-failed");
      await this.onDevices();
    }
  }

  async #useSpeaker(device) {
    if (await this.speaker.use(device)) choose("speaker", device);
    else await this.onDevices();
  }

  // Another one goes on, if there is one.
  async #onMicrophoneLost() {
    this.page.notifyByName("microphone-lost");
    await this.#useMicrophone("");
  }
}
