// The bar of an open call: its sign, its buttons, and the choice of devices.

import { choose, chosen } from "./choices.js";

const LEFT_SHOWN_SECONDS = 120; // the time left is shown near the end
const MODES = ["hands-free", "push"];

export class CallBar {
  // `handlers`: talk(isOn), mute(isOn), interrupt(), mode(name), microphone(device), speaker(device), hangUp().
  constructor(page, handlers) {
    this.page = page;
    this.handlers = handlers;
    this.section = page.clone("call-bar");
    this.state = this.section.querySelector(".call-state");
    this.left = this.section.querySelector(".call-left");
    this.options = this.section.querySelector(".call-options");
    /** @type {Record<string, any>} */
    this.controls = Object.fromEntries([...this.section.querySelectorAll("button[name], select")].map((each) => [each.name, each]));
    this.modes = this.section.querySelectorAll("[name=call-mode]");
    this.isTalking = false;
    page.composer.form.before(this.section);
    this.section.addEventListener("click", (event) => this.#onClick(event));
    this.section.addEventListener("change", (event) => this.#onChange(event.target));
    this.#listenToTalk();
    this.onKey = (event) => this.#onKey(event);
    this.onBlur = () => this.#talk(false);
    document.addEventListener("keydown", this.onKey);
    document.addEventListener("keyup", this.onKey);
    addEventListener("blur", this.onBlur);
    this.#setMode(MODES.includes(chosen("mode")) ? chosen("mode") : MODES[0]);
    this.focus();
  }

  // The first control that is there.
  focus() {
    (this.isPush ? this.controls.talk : this.controls.mute).focus({ preventScroll: true });
  }

  get isPush() {
    return this.mode === "push";
  }

  // Show who speaks: connecting, listening, thinking, speaking, muted, ready (to be spoken to by a key) or
  // reconnecting.
  show(name) {
    if (this.section.dataset.sign === name) return;
    this.section.dataset.sign = name;
    this.state.textContent = this.page.uiString(`call-${name}`);
    this.controls.interrupt.disabled = !["thinking", "speaking"].includes(name);
  }

  showLevel(level) {
    this.section.style.setProperty("--level", level.toFixed(2));
  }

  // Show the time left if the end is near; return the words for it.
  showLeft(seconds) {
    const left = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
    const text = this.page.uiString("call-left", left);
    this.left.hidden = seconds > LEFT_SHOWN_SECONDS;
    this.left.textContent = this.left.hidden ? "" : text;
    return text;
  }

  showMuted(isMuted) {
    this.controls.mute.ariaPressed = String(isMuted);
  }

  // Fill the lists of devices, whose names a browser tells only once the microphone may be used.
  async listDevices(microphone, canChooseSpeaker) {
    const devices = await navigator.mediaDevices.enumerateDevices();
    const speaker = this.controls.speaker.value;
    this.#fill(this.controls.microphone, devices.filter(({ kind }) => kind === "audioinput"), microphone);
    this.#fill(this.controls.speaker, canChooseSpeaker ? devices.filter(({ kind }) => kind === "audiooutput") : [], speaker);
  }

  remove() {
    document.removeEventListener("keydown", this.onKey);
    document.removeEventListener("keyup", this.onKey);
    removeEventListener("blur", this.onBlur);
    this.section.remove();
  }

  #fill(select, devices, chosen) {
    select.closest("label").hidden = !devices.length;
    select.replaceChildren(...devices.map(({ deviceId, label }, n) => new Option(label || String(n + 1), deviceId)));
    if (devices.some(({ deviceId }) => deviceId === chosen)) select.value = chosen;
  }

  #setMode(mode) {
    this.#talk(false);
    this.mode = mode;
    for (const each of this.modes) each.checked = each.value === mode;
    this.controls.talk.hidden = !this.isPush;
    this.controls.mute.hidden = this.isPush;
    this.handlers.mode(mode);
  }

  #onClick(event) {
    const button = event.target.closest("button");
    switch (button?.name) {
      case "mute": return this.handlers.mute(button.ariaPressed !== "true");
      case "interrupt": return this.handlers.interrupt();
      case "hang-up": return this.handlers.hangUp();
      case "options":
        this.options.hidden = !this.options.hidden;
        button.ariaExpanded = String(!this.options.hidden);
        return;
      // Neither a pointer nor a key: an assistive technology presses it, and cannot hold it.
      case "talk": return event.detail === 0 ? this.#talk(!this.isTalking) : undefined;
    }
  }

  #onChange(field) {
    if (field.name === "call-mode") {
      choose("mode", field.value);
      this.#setMode(field.value);
    } else if (field.name === "microphone") this.handlers.microphone(field.value);
    else if (field.name === "speaker") this.handlers.speaker(field.value);
  }

  #listenToTalk() {
    const { talk } = this.controls;
    talk.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      talk.setPointerCapture(event.pointerId);
      this.#talk(true);
    });
    for (const type of ["pointerup", "pointercancel"]) talk.addEventListener(type, () => this.#talk(false));
    talk.addEventListener("contextmenu", (event) => event.preventDefault()); // of a long press
  }

  // Space talks while it is held, where it has no other use.
  #onKey(event) {
    const { key, target, type } = event;
    if (key === "Escape" && type === "keydown" && this.section.contains(target)) return this.#onEscape();
    const isTalk = target === this.controls.talk && (key === " " || key === "Enter");
    const isFree = key === " " && !target.closest("button, a, input, select, textarea, summary, dialog, [popover]");
    if (!this.isPush || !(isTalk || isFree || (type === "keyup" && key === " "))) return;
    if (isTalk || isFree) event.preventDefault();
    if (!event.repeat) this.#talk(type === "keydown");
  }

  #onEscape() {
    if (this.options.hidden) return this.handlers.interrupt();
    this.controls.options.click();
    this.controls.options.focus();
  }

  #talk(isOn) {
    if (this.isTalking === isOn) return;
    this.isTalking = isOn;
    this.controls.talk.ariaPressed = String(isOn);
    this.handlers.talk(isOn);
  }
}
