// Where a message is written: its keys, its draft, and the one-time key of the next ask.

import { newKey } from "./asking.js";

export class Composer {
  // `submit` is called with the text, never blank.
  constructor(submit) {
    this.form = document.getElementById("composer");
    this.text = document.getElementById("query");
    this.submit = submit;
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    this.text.addEventListener("keydown", (event) => this.#key(event));
    if (matchMedia("(pointer: fine)").matches) this.text.focus({ preventScroll: true });
  }

  get conversation() {
    return this.form.dataset.conversation || null;
  }

  set conversation(id) {
    this.form.dataset.conversation = id;
    this.form.action = `/chat/${id}/`;
  }

  get token() {
    return this.form.elements.csrfmiddlewaretoken.value;
  }

  set token(value) {
    this.form.elements.csrfmiddlewaretoken.value = value;
  }

  // The agent picked for a new conversation, where there is a choice.
  get agent() {
    return this.form.elements.agent?.value || null;
  }

  // The key that makes `text`, sent again after a failure, one message.
  keyFor(text) {
    if (this.sent !== text) [this.sent, this.key] = [text, newKey()];
    return this.key;
  }

  // What was sent has arrived. Whatever was typed meanwhile stays.
  accepted(text) {
    this.sent = undefined;
    if (this.text.value === text) this.text.value = "";
    this.form.elements.agent?.closest("label").remove();
  }

  #send() {
    if (this.text.value.trim() && document.body.dataset.state === "idle") this.submit(this.text.value);
  }

  #key(event) {
    // 229 is a key that an input method is still working on; Safari says so only there.
    const composing = event.isComposing || event.keyCode === 229;
    // A phone's keyboard has no Shift+Enter: there, Enter is a new line and the button sends.
    const writesLine = event.shiftKey || matchMedia("(pointer: coarse)").matches;
    if (event.key !== "Enter" || composing || writesLine) return;
    event.preventDefault();
    this.#send();
  }
}
