// The message field: its draft, and the idempotency key of the next request. templates/chat/_enter.html makes Enter
// submit the form, because it runs before this module loads.

import { Attachments } from "./attachments.js";
import { newKey } from "./requests.js";
import { dropDraft, keepDraft, keepFiles, keepSent, offerOrphan, readDraft, readFiles, readSent } from "./drafts.js";
import { clearNotice, notifyByName } from "./notices.js";
import { uiString } from "./ui_strings.js";

export class Composer {
  // `submit` is called with the text, which is blank only if there are files; `queue` too, while an answer is being written, and with
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
    this.filesInFlight = null; // its files; null if nothing was sent
    this.call = null; // the open one, which takes the text
    this.attachments = new Attachments(this.form, () => this.token, () => this.#onFiles());
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
      clearNotice("blank", "too_long", "files", "no-files", "no-files-in-call", "still-busy");
    });
    this.fields.agent?.addEventListener("change", () => this.#nameAgent());
    if (!this.text.value) this.text.value = readDraft(this.conversation);
    if (!this.text.value && !this.conversation) offerOrphan((text) => this.#adopt(text));
    this.attachments.readDraft(readFiles(this.conversation));
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
    const files = this.attachments.files.map(({ file }) => file);
    if (this.sent?.body.query !== text || String(this.sent.body.files ?? []) !== String(files)) {
      const parent = ifBusy ? undefined : this.fields.parent.value || undefined;
      const body = { query: text, conversation: this.conversation, parent, agent: this.agent, if_busy: ifBusy };
      if (files.length) body.files = files;
      this.sent = { body, key: newKey() };
    }
    return this.sent;
  }

  // The text of the field is queued already.
  forget() {
    if (this.text.value === this.sent.body.query) this.text.value = "";
    this.sent = null;
    this.attachments.take();
    dropDraft(this.conversation);
    if (this.text.value) keepDraft(this.conversation, this.text.value);
    this.#fitHeight();
  }

  // Put `text` into the field without sending it, and `files` before the others.
  fill(text, files = []) {
    this.text.value = text;
    this.attachments.restore(files);
    this.text.focus();
    this.#onInput();
  }

  // Empty the field: `text` is being sent, with all files.
  startSending(text) {
    this.inFlight = text;
    this.text.value = "";
    this.filesInFlight = [];
    this.filesInFlight = this.attachments.take();
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
    const files = this.filesInFlight;
    this.inFlight = "";
    this.filesInFlight = null;
    this.attachments.restore(files);
    this.#onInput();
  }

  // The text in flight was accepted, in `conversation`. Keep the text typed since.
  accepted(conversation) {
    this.sent = null;
    this.inFlight = "";
    this.filesInFlight = null;
    this.moveTo(conversation);
  }

  // The draft is of `conversation` from now on.
  moveTo(conversation) {
    dropDraft(this.conversation);
    if (this.text.value) keepDraft(conversation, this.text.value);
    this.conversation = conversation;
    this.#onFiles();
    this.fields.agent?.closest("label").remove();
  }

  // Disable or enable sending.
  setDisabled(disabled) {
    this.button.disabled = disabled;
  }

  #send(interrupts) {
    this.interrupts = false;
    if (this.button.disabled || this.filesInFlight) return;
    if (!this.text.value.trim() && !this.attachments.all.length) return;
    if (this.call) return this.#say();
    if (this.attachments.obstacle) return notifyByName(this.attachments.obstacle);
    const { state } = document.body.dataset;
    if (state === "idle") this.submit(this.text.value);
    else if (state === "answering") this.queue(this.text.value, interrupts);
  }

  // Give the text to the open call.
  #say() {
    if (this.attachments.all.length) return notifyByName("no-files-in-call");
    if (!this.call.read(this.text.value)) return;
    this.text.value = "";
    dropDraft(this.conversation);
    this.#fitHeight();
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

  // A message of files only needs no text.
  #onFiles() {
    const { all, obstacle, draft } = this.attachments;
    this.text.required = !all.length;
    this.form.toggleAttribute("data-files", all.length > 0);
    this.button.ariaDisabled = obstacle ? "true" : null;
    if (!this.filesInFlight) keepFiles(this.conversation, draft);
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
