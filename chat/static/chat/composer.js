// The message field: its draft, and the idempotency key of the next request. templates/chat/_enter.html makes Enter
// submit the form, because it runs before this module loads.

import { newKey } from "./requests.js";
import { dropDraft, keepDraft, keepSent, offerOrphan, readDraft, readSent } from "./drafts.js";
import { clearNotice } from "./notices.js";
import { uiString } from "./ui_strings.js";

export class Composer {
  // `submit` is called with the text, which is never blank; `queue` too, while an answer is being written, and with
  // whether the text interrupts that.
  constructor(submit, queue) {
    this.form = /** @type {HTMLFormElement} */ (document.getElementById("composer"));
    /** @typedef {{csrfmiddlewaretoken: HTMLInputElement, parent: HTMLInputElement, agent?: HTMLSelectElement}} Fields */
    this.fields = /** @type {HTMLFormControlsCollection & Fields} */ (this.form.elements);
    this.text = /** @type {HTMLTextAreaElement} */ (document.getElementById("query"));
    this.button = /** @type {HTMLButtonElement} */ (document.getElementById("send"));
    this.submit = submit;
    this.queue = queue;
    this.sent = readSent(this.conversation); // the ask that was sent and is not yet accepted or refused
    this.inFlight = ""; // the text that was sent and is not yet accepted
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send(this.interrupts || /** @type {HTMLButtonElement} */ (event.submitter)?.value === "interrupt");
    });
    this.interrupts = false; // the key that sends also stops the answer
    this.text.addEventListener("keydown", (event) => {
      this.interrupts = event.key === "Enter" && (event.ctrlKey || event.metaKey);
    });
    this.text.addEventListener("input", () => {
      this.#onInput();
      clearNotice("blank", "too_long", "no-files", "still-busy");
    });
    this.fields.agent?.addEventListener("change", () => this.#nameAgent());
    if (!this.text.value) this.text.value = readDraft(this.conversation);
    if (!this.text.value && !this.conversation) offerOrphan((text) => this.#adopt(text));
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

  // Return the ask for `text`, after the message that the page shows last, or, with `ifBusy`, after those that are
  // being answered. If `text` is sent again after a failure, it is the same ask with the same key, so that it becomes
  // one message.
  askFor(text, ifBusy = undefined) {
    if (this.sent?.body.query !== text) {
      const parent = ifBusy ? undefined : this.fields.parent.value || undefined;
      const body = { query: text, conversation: this.conversation, parent, agent: this.agent, if_busy: ifBusy };
      this.sent = { body, key: newKey() };
    }
    return this.sent;
  }

  // The text of the field is queued already.
  forget() {
    if (this.text.value === this.sent.body.query) this.text.value = "";
    this.sent = null;
    dropDraft(this.conversation);
    if (this.text.value) keepDraft(this.conversation, this.text.value);
    this.#fitHeight();
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
    keepSent(this.conversation, this.sent);
    this.#fitHeight();
  }

  // Move from where the form was to where it is now: from below the welcome to the end of the page.
  slideFrom(top) {
    const by = top - this.form.getBoundingClientRect().top;
    if (!by || matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    this.form.parentElement.animate([{ translate: `0 ${by}px` }, {}], { duration: 240, easing: "cubic-bezier(0.2, 0.7, 0.2, 1)" });
  }

  // The text in flight was refused or lost: put it before the text typed since.
  restoreText(wasRefused) {
    if (wasRefused) {
      this.sent = null;
      keepSent(this.conversation, null);
    }
    this.text.value = this.#unsentText();
    this.inFlight = "";
    this.#onInput();
  }

  // The text in flight was accepted, in `conversation`. Keep the text typed since.
  accepted(conversation) {
    this.sent = null;
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

  #send(interrupts) {
    this.interrupts = false;
    if (!this.text.value.trim() || this.button.disabled || this.inFlight) return;
    const { state } = document.body.dataset;
    if (state === "idle") this.submit(this.text.value);
    else if (state === "answering") this.queue(this.text.value, interrupts);
  }

  // The placeholder and the welcome name the chosen agent.
  #nameAgent() {
    const [{ text, title }] = this.fields.agent.selectedOptions;
    this.text.placeholder = uiString("message-to", text);
    document.getElementById("agent-name").textContent = text;
    document.getElementById("agent-about").textContent = title;
  }

  // Take the draft of a closed tab, unless there is a text by now.
  #adopt(text) {
    if (this.conversation || this.inFlight || this.text.value) return false;
    this.text.value = text;
    this.#onInput();
    return true;
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
