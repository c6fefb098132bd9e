// Files of the next message: their chips above the message field, and their uploads.

import { isPicture, sizeText } from "./file_cards.js";
import { announceText, clearNotice, notify } from "./notices.js";
import { Refused, requestJson } from "./requests.js";
import { clone, uiString } from "./ui_strings.js";
import { Upload } from "./uploads.js";

// Of a browser's six connections to a server, uploads leave some to the answer and to the page.
const AT_ONCE = 2;

const UPLOADING = "uploading";
const LOST = "lost"; // waits for another attempt
const FAILED = "failed";
const COMPLETE = "complete";

export class Attachments {
  // `token` returns the CSRF token; `changed` is called when a file is added, removed or complete.
  constructor(form, token, changed) {
    this.area = form.querySelector("#attachments");
    this.list = this.area.querySelector("ul");
    this.note = this.area.querySelector("#attachments-note");
    this.max = Number(form.dataset.filesMax);
    this.maxBytes = Number(form.dataset.fileMaxBytes);
    this.inlineBytes = Number(form.dataset.inlineBytes);
    this.token = token;
    this.changed = changed;
    this.all = []; // {chip, state, file, upload, sent}: `file` has the fields of an event `file` when it is complete
    const input = form.querySelector("#file-input");
    form.querySelector("#attach").addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      this.add([...input.files]);
      input.value = ""; // the same file can be chosen again after it was removed
    });
    this.list.addEventListener("click", ({ target }) => {
      const each = this.all.find(({ chip }) => chip.contains(target));
      if (target.closest(".attachment-remove")) this.remove(each);
      else if (target.closest(".attachment-retry")) this.#retry(each);
    });
  }

  get ids() {
    return this.all.map(({ file, upload }) => file?.file ?? upload?.id).filter(Boolean);
  }

  // The fields of the complete files.
  get files() {
    return this.all.map(({ file }) => file).filter(Boolean);
  }

  // What the page keeps of them when it is left.
  get draft() {
    return this.all.map(({ file, upload, name, size }) => ({ id: file?.file ?? upload?.id, name, size }));
  }

  // The reason for which the message cannot be sent yet: a name of a string; empty if it can.
  get obstacle() {
    if (this.all.some(({ state }) => state === FAILED)) return "files-failed";
    return this.all.some(({ state }) => state !== COMPLETE) ? "files-uploading" : "";
  }

  add(chosen) {
    clearNotice("files");
    const problems = [];
    for (const file of chosen) {
      if (this.all.length >= this.max) {
        problems.push(uiString("too-many-files", this.max));
        break;
      }
      if (file.size > this.maxBytes) problems.push(`${uiString("file-too-large", file.name)} ${uiString("file-limit", sizeText(this.maxBytes))}`);
      else if (!file.size) problems.push(uiString("file-empty", file.name));
      else this.#begin(file);
    }
    if (problems.length) notify(problems.join(" "), "files");
    this.#update();
  }

  remove(each) {
    const next = this.all[this.all.indexOf(each) + 1] ?? this.all.at(-2);
    each.upload?.cancel();
    const id = each.file?.file ?? each.upload?.id;
    // Without a connection it is unused, and the server deletes it after a day.
    if (id) requestJson(`/api/v1/files/${id}`, { method: "DELETE", token: this.token() }).catch(() => {});
    this.#drop(each);
    announceText(uiString("file-removed", each.name));
    (next?.chip.querySelector(".attachment-remove") ?? document.getElementById("attach")).focus();
    this.#update();
    this.#startNext();
  }

  // Take the files out: they are being sent.
  take() {
    const taken = this.files;
    for (const each of [...this.all]) this.#drop(each);
    this.#update();
    return taken;
  }

  // Put complete files back, before those that were added meanwhile.
  restore(files) {
    for (const file of [...files].reverse()) this.#show({ name: file.name, size: file.size, file, state: COMPLETE }, true);
    this.#update();
  }

  // Show the files of a draft again. An upload that was not complete has lost its bytes with the page.
  async readDraft(draft) {
    const found = draft.map(({ id, name, size }) => this.#show({ id, name, size, state: LOST }));
    for (const each of found) {
      const answer = each.id && (await requestJson(`/api/v1/files/${each.id}`).catch((error) => error));
      if (!this.all.includes(each)) continue; // removed meanwhile
      if (answer?.file) this.#complete(each, answer.file);
      else this.#fail(each, uiString("file-lost"), false);
    }
    this.#update();
  }

  #begin(bytes) {
    const each = this.#show({ name: bytes.name, size: bytes.size, bytes, state: UPLOADING });
    if (isPicture(bytes.type)) this.#preview(each, URL.createObjectURL(bytes));
    this.#prepare(each);
    this.#startNext();
  }

  #prepare(each) {
    each.upload = new Upload(each.bytes, {
      progress: (share) => {
        this.#setState(each, UPLOADING);
        each.chip.querySelector("progress").value = share;
        this.changed();
      },
      lost: () => this.#setState(each, LOST, uiString("file-waits")),
    });
    each.sending = false;
  }

  #startNext() {
    const waiting = this.all.filter(({ state, bytes }) => bytes && (state === UPLOADING || state === LOST));
    const busy = waiting.filter(({ sending }) => sending).length;
    for (const each of waiting.filter(({ sending }) => !sending).slice(0, Math.max(0, AT_ONCE - busy))) this.#send(each);
  }

  async #send(each) {
    each.sending = true;
    try {
      const file = await each.upload.send(this.token());
      this.#complete(each, file);
      announceText(uiString("file-attached", each.name));
    } catch (error) {
      if (error.name === "AbortError") return;
      const isRefused = error instanceof Refused;
      if (isRefused && error.status === 404) each.upload.id = ""; // deleted meanwhile: begin again
      this.#fail(each, isRefused ? error.message : uiString("file-not-sent"), ![413, 422].includes(error.status));
    } finally {
      each.sending = false;
    }
    this.#update();
    this.#startNext();
  }

  #retry(each) {
    if (each.sending) return each.upload.retryNow();
    this.#setState(each, UPLOADING);
    each.chip.querySelector(".attachment-remove").focus();
    this.#startNext();
    this.#update();
  }

  #complete(each, { id, name, mime, size, width, height, given }) {
    Object.assign(each, { name, size, file: { file: id, name, mime, size, width, height, given } });
    this.#setState(each, COMPLETE, givenSentence(mime, given));
    if (isPicture(mime) && !each.preview) this.#preview(each, `/thumbnails/${id}`);
    each.bytes = null;
  }

  #fail(each, sentence, mayRetry) {
    this.#setState(each, FAILED, sentence);
    each.chip.querySelector(".attachment-retry").hidden = !mayRetry;
    announceText(`${each.name}: ${sentence}`);
  }

  #setState(each, state, sentence = "") {
    each.state = state;
    each.chip.dataset.state = state;
    each.chip.querySelector(".attachment-note").textContent = sentence;
    each.chip.querySelector("progress").hidden = state !== UPLOADING;
    each.chip.querySelector(".attachment-retry").hidden = state !== LOST;
  }

  #preview(each, address) {
    each.preview = address;
    const picture = each.chip.querySelector("img");
    picture.src = address;
    picture.hidden = false;
    // A broken picture has the icon of a file.
    picture.addEventListener("error", () => picture.toggleAttribute("hidden", true), { once: true });
  }

  #show(each, isFirst = false) {
    each.chip = clone("attachment");
    each.chip.querySelector(".attachment-name").textContent = each.name;
    each.chip.querySelector(".attachment-size").textContent = sizeText(each.size);
    const remove = each.chip.querySelector(".attachment-remove");
    remove.querySelector(".visually-hidden").textContent = uiString("remove-file", each.name);
    each.chip.querySelector("progress").ariaLabel = uiString("uploading-file", each.name);
    if (isFirst) {
      this.all.unshift(each);
      this.list.prepend(each.chip);
    } else {
      this.all.push(each);
      this.list.append(each.chip);
    }
    if (each.file) this.#complete(each, { ...each.file, id: each.file.file });
    else this.#setState(each, each.state);
    return each;
  }

  #drop(each) {
    this.all.splice(this.all.indexOf(each), 1);
    each.chip.remove();
    if (each.preview?.startsWith("blob:")) URL.revokeObjectURL(each.preview);
  }

  #update() {
    this.area.hidden = !this.all.length;
    const inline = this.files.filter(({ given }) => given === "inline").reduce((sum, { size }) => sum + size, 0);
    const isTooMuch = inline > this.inlineBytes;
    this.note.textContent = isTooMuch ? uiString("files-too-large-together", sizeText(this.inlineBytes)) : "";
    if (!this.obstacle) clearNotice("files-uploading", "files-failed");
    this.changed();
  }
}

// The sentence on what the agent gets of a file; empty if it gets all of it.
function givenSentence(mime, given) {
  if (given === "text") return mime.startsWith("text/") || mime === "application/json" ? "" : uiString("given-text");
  if (given !== "name") return "";
  const isKnown = /^(image|audio|video|text)\//.test(mime) || ["application/pdf", "application/json"].includes(mime);
  return uiString(isKnown ? "given-name-large" : "given-name-kind");
}
