// The field a message is written in: its draft, and the idempotency key of the next ask. Enter submits the form by
// templates/chat/enter.html, which is there before this module.

import { newKey } from "./asking.js";
import { dropDraft, keepDraft, readDraft } from "./drafts.js";

export class Composer {
  // `submit` is called with the text, never blank.
  constructor(submit) {
    this.form = document.getElementById("composer");
    this.text = document.getElementById("query");
    this.button = document.getElementById("send");
    this.submit = submit;
    this.inFlight = ""; // the text that was sent and is not yet accepted
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    this.text.addEventListener("input", () => this.#typed());
    if (!this.text.value) this.text.value = readDraft(this.conversation);
    this.#fit();
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

  // Begin with these words; they are not sent.
  fill(text) {
    this.text.value = text;
    this.text.focus();
    this.#typed();
  }

  // `text` is on its way: the field is free for the next one.
  empty(text) {
    this.inFlight = text;
    this.text.value = "";
    this.#fit();
  }

  // The text in flight was refused or lost: it is put before what was typed meanwhile.
  putBack() {
    this.text.value = this.#unsent();
    this.inFlight = "";
    this.#typed();
  }

  // The text in flight has arrived, in `conversation`. Whatever was typed meanwhile stays.
  accepted(conversation) {
    this.sent = undefined;
    this.inFlight = "";
    dropDraft(this.conversation);
    if (this.text.value) keepDraft(conversation, this.text.value);
    this.conversation = conversation;
    this.form.elements.agent?.closest("label").remove();
  }

  // For a while nothing can be sent.
  hold(held) {
    this.button.disabled = held;
  }

  #send() {
    const ready = document.body.dataset.state === "idle" && !this.button.disabled;
    if (this.text.value.trim() && ready) this.submit(this.text.value);
  }

  #typed() {
    keepDraft(this.conversation, this.#unsent());
    this.#fit();
  }

  #unsent() {
    return [this.inFlight, this.text.value].filter(Boolean).join("\n");
  }

  // Browsers that do not fit a field to its content by themselves.
  #fit() {
    if (CSS.supports("field-sizing", "content")) return;
    this.text.style.blockSize = "auto";
    this.text.style.blockSize = `${this.text.scrollHeight}px`;
  }
}
