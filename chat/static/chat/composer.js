// The message field: its draft, and the idempotency key of the next request. templates/chat/_enter.html makes Enter
// submit the form, because it runs before this module loads.

import { newKey } from "./requests.js";
import { dropDraft, keepDraft, readDraft } from "./drafts.js";

export class Composer {
  // `submit` is called with the text, which is never blank.
  constructor(submit) {
    this.form = /** @type {HTMLFormElement} */ (document.getElementById("composer"));
    /** @typedef {{csrfmiddlewaretoken: HTMLInputElement, agent?: HTMLSelectElement}} Fields */
    this.fields = /** @type {HTMLFormControlsCollection & Fields} */ (this.form.elements);
    this.text = /** @type {HTMLTextAreaElement} */ (document.getElementById("query"));
    this.button = /** @type {HTMLButtonElement} */ (document.getElementById("send"));
    this.submit = submit;
    this.key = ""; // of the text sent last
    this.inFlight = ""; // the text that was sent and is not yet accepted
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    this.text.addEventListener("input", () => this.#onInput());
    if (!this.text.value) this.text.value = readDraft(this.conversation);
    this.#fitHeight();
    if (matchMedia("(pointer: fine)").matches) this.text.focus({ preventScroll: true });
  }

  get conversation() {
    return this.form.dataset.conversation || undefined;
  }

  set conversation(id) {
    this.form.dataset.conversation = id;
    this.form.action = `/chat/${id}/`;
  }

  get token() {
    return this.fields.csrfmiddlewaretoken.value;
  }

  set token(value) {
    this.fields.csrfmiddlewaretoken.value = value;
  }

  // The agent selected for a new conversation, if there is a choice.
  get agent() {
    return this.fields.agent?.value || undefined;
  }

  // Return the same key when `text` is sent again after a failure, so that it becomes one message.
  keyFor(text) {
    if (this.sent !== text) [this.sent, this.key] = [text, newKey()];
    return this.key;
  }

  // Put `text` into the field without sending it.
  fill(text) {
    this.text.value = text;
    this.text.focus();
    this.#onInput();
  }

  // Empty the field: `text` is being sent.
  startSending(text) {
    this.inFlight = text;
    this.text.value = "";
    this.#fitHeight();
  }

  // The text in flight was refused or lost: put it before the text typed since.
  restoreText() {
    this.text.value = this.#unsentText();
    this.inFlight = "";
    this.#onInput();
  }

  // The text in flight was accepted, in `conversation`. Keep the text typed since.
  accepted(conversation) {
    this.sent = undefined;
    this.inFlight = "";
    dropDraft(this.conversation);
    if (this.text.value) keepDraft(conversation, this.text.value);
    this.conversation = conversation;
    this.fields.agent?.closest("label").remove();
  }

  // Disable or enable sending.
  setDisabled(disabled) {
    this.button.disabled = disabled;
  }

  #send() {
    const ready = document.body.dataset.state === "idle" && !this.button.disabled;
    if (this.text.value.trim() && ready) this.submit(this.text.value);
  }

  #onInput() {
    keepDraft(this.conversation, this.#unsentText());
    this.#fitHeight();
  }

  #unsentText() {
    return [this.inFlight, this.text.value].filter(Boolean).join("\n");
  }

  // Fit the field to its content in browsers without field-sizing.
  #fitHeight() {
    if (CSS.supports("field-sizing", "content")) return;
    this.text.style.blockSize = "auto";
    this.text.style.blockSize = `${this.text.scrollHeight}px`;
  }
}
