// Asking: from a question, or Regenerate, to run.started, then following.js follows the run; and Stop.

import { fileList } from "./file_cards.js";
import { foldIfLong } from "./folding.js";
import { announceText, clearNotice, notify, notifyByName, notifyFor } from "./notices.js";
import { AROUND, swap } from "./refreshing.js";
import { Refused, fetchPage, newKey, postAsk, postStop, requestJson } from "./requests.js";
import { clone, uiString } from "./ui_strings.js";
import { keptFiles, newestPager } from "./versions.js";

export function questionOf(text, files) {
  const question = clone("user-message");
  if (files.length) question.querySelector(".bubble").before(fileList(files));
  question.querySelector(".bubble").textContent = text;
  foldIfLong(question, text);
  return question;
}

// Return this message and all after it.
const fromOn = (article) => [...article.parentElement.children].slice([...article.parentElement.children].indexOf(article));

export class Asking {
  constructor(messages, composer, view, following) {
    this.messages = messages;
    this.composer = composer;
    this.view = view;
    this.following = following;
    /** @type {(change: object) => Promise<void>} */
    this.update = async () => {}; // brings the page up to date after a change; main.js sets it
  }

  async askQuery(text) {
    const composer = this.composer;
    const ask = composer.askFor(text);
    if (ask.body.if_busy) return this.queueQuery(text); // it was on its way when the page was left
    const shown = { question: questionOf(text, composer.attachments.files), replaced: [document.getElementById("welcome")], composer };
    const started = await this.#send(ask.body, ask.key, shown);
    if (!started) return;
    const isNew = !composer.conversation;
    composer.accepted(started.conversation);
    if (isNew) await this.#openNew(started);
  }

  // Ask when the answer that is being written has ended; `interrupts` stops that.
  async queueQuery(text, interrupts = false) {
    const composer = this.composer;
    const { body, key } = composer.askFor(text, interrupts ? "interrupt" : "queue");
    clearNotice();
    composer.startSending(text);
    if (interrupts) announceText(uiString("interrupting"));
    try {
      const { queued, reader } = await this.#askWithToken(body, key);
      reader?.close(); // the page follows its run as any other
      composer.accepted(body.conversation);
      if (queued && !interrupts) announceText(uiString("queued", queued.position));
      if (queued) await this.update({ type: "queued", conversation: body.conversation });
      else await this.following.settle();
    } catch (error) {
      composer.restoreText(error instanceof Refused);
      await this.#explain(error);
    }
  }

  // Ask an old question again, for another version of its answer.
  async askAgain(button) {
    if (document.body.dataset.state !== "idle") return;
    button.closest("dialog")?.close();
    const article = button.closest("article");
    const isReply = !article.classList.contains("user");
    const shown = {
      replaced: isReply ? fromOn(article) : [],
      pager: isReply ? newestPager(article) : article.querySelector(".run-outcome .pager")?.cloneNode(true),
    };
    await this.#send({ prompt: button.value }, newKey(), shown);
  }

  // Ask the text of an edit form in place of the question that it edits.
  async askEdited(form) {
    const text = form.elements.query.value;
    const files = keptFiles(form);
    if (!text.trim() && !files.length) return;
    if (document.body.dataset.state !== "idle") return notifyByName("still-busy");
    const old = form.closest("article");
    const question = questionOf(text, files);
    question.querySelector(".message-actions").append(newestPager(old));
    const body = { query: text, conversation: this.composer.conversation, parent: old.dataset.parent || null };
    if (files.length) body.files = files.map(({ file }) => file);
    const started = await this.#send(body, form.elements.client_id.value, { question, replaced: fromOn(old) });
    if (started) this.composer.text.focus({ preventScroll: true });
  }

  // Begin a conversation without a question, to speak in it. Resolve to its id, or to null: a notice says why.
  async openConversation() {
    const composer = this.composer;
    try {
      const json = { agent: composer.agent };
      const created = await this.#withToken((token) => requestJson("/api/v1/conversations", { method: "POST", token, json }));
      composer.moveTo(created.id);
      await this.#openNew({ conversation: created.id, title: created.title });
      return created.id;
    } catch (error) {
      await this.#explain(error);
      return null;
    }
  }

  async stopRun() {
    if (this.composer.call) return this.composer.call.stop();
    const stored = /** @type {HTMLInputElement} */ (document.querySelector("#stop [name=run]"));
    const run = this.messages.querySelector("[data-run]")?.dataset.run ?? stored.value;
    if (run) await postStop(run, this.composer.token).catch((error) => this.#explain(error));
  }

  // Show the question and an empty reply instead of `replaced`, in one frame; then ask, and follow the run.
  // `pager` is that of the reply; `composer` holds the text. Resolve to run.started, or to null: then the page is as
  // before and a notice shows the reason.
  async #send(body, key, { question = null, replaced, pager = null, composer = null }) {
    const live = clone("live-reply");
    if (pager) live.querySelector(".message-actions").append(pager);
    clearNotice();
    document.body.dataset.state = "asking";
    composer?.startSending(body.query);
    const hide = (hidden) => {
      for (const each of replaced) if (each) each.hidden = hidden;
    };
    const before = this.composer.form.getBoundingClientRect().top;
    hide(true);
    this.messages.append(...(question ? [question] : []), live);
    this.composer.slideFrom(before);
    this.view.showQuestion(question, live);
    try {
      const { started, reader } = await this.#askWithToken(body, key);
      if (!composer) for (const each of replaced) each.remove();
      live.dataset.run = started.run;
      this.following.follow(live, { started, reader });
      return started;
    } catch (error) {
      question?.remove();
      live.remove();
      hide(false);
      composer?.restoreText(error instanceof Refused);
      document.body.dataset.state = "idle";
      await this.#explain(error);
      return null;
    }
  }

  #askWithToken(body, key) {
    return this.#withToken((token) => postAsk(body, key, token));
  }

  // A CSRF token is outdated after a new sign-in in another tab.
  async #withToken(send) {
    try {
      return await send(this.composer.token);
    } catch (error) {
      if (error.code !== "csrf") throw error;
      const field = (await fetchPage()).querySelector("#keys [name=csrfmiddlewaretoken]");
      this.composer.token = /** @type {HTMLInputElement} */ (field).value;
      return await send(this.composer.token);
    }
  }

  async #explain(error) {
    // A server on this machine answers without a network, so only a failed request tells.
    if (!(error instanceof Refused)) return notifyByName(navigator.onLine ? "unreachable" : "offline");
    if (error.status === 401) return notifyByName("signed-out");
    // Another tab has asked: show its answer. Or a moderator has decided something: show that.
    if ([403, 409, 423].includes(error.status)) await this.following.settle();
    if (!error.retryAfter) return notify(error.message, error.code);
    this.composer.setDisabled(true);
    notifyFor(error.message, error.retryAfter, () => this.composer.setDisabled(false));
  }

  async #openNew({ conversation, title }) {
    history.pushState({}, "", `/chat/${conversation}/`);
    document.title = document.title.replace(/^.* · /, () => `${title} · `);
    for (const part of document.querySelectorAll("#welcome, .suggestions")) part.remove();
    const fresh = await fetchPage().catch(() => null); // the update at the end of the run has it too
    if (fresh) swap(fresh, AROUND);
  }
}
