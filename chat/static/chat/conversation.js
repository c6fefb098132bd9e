// The open conversation: asks, follows the answer, and updates the page afterwards.

import { Refused, ask, newKey, stop } from "./asking.js";
import { follow } from "./following.js";
import { announce, announceEnd, clearNotice, notify, notifyByName, notifyFor, readAloud, showConnection } from "./notices.js";
import { fetchPage, fetchPageRetrying, swap } from "./refreshing.js";
import { lastChange } from "./remote_changes.js";
import { LiveReply } from "./reply.js";
import { clone } from "./ui_strings.js";

const STILL_SECONDS = 7; // between announcements that a long answer is still being written
const QUIET_SECONDS = 2; // a shorter interruption of the connection is not shown

const AROUND = ["conversations", "pane-title", "pane-actions", "deleting"]; // ids of parts of the page

const setState = (state) => (document.body.dataset.state = state);
const isIdle = () => document.body.dataset.state === "idle";

export class LiveConversation {
  constructor(messages, composer, view) {
    this.messages = messages;
    this.composer = composer;
    this.view = view;
    this.followed = new Set(); // runs followed by this page, which updates itself when they end
  }

  // --- asking -------------------------------------------------------------------------------------

  async askQuery(text) {
    const composer = this.composer;
    const question = clone("user-message");
    question.querySelector(".bubble").textContent = text;
    const body = { query: text, conversation: composer.conversation, agent: composer.agent };
    const welcome = document.getElementById("welcome");
    const started = await this.#send(body, composer.keyFor(text), question, welcome);
    if (!started) return;
    const isNew = !composer.conversation;
    composer.accepted(started.conversation);
    if (isNew) await this.#openNew(started);
  }

  async askAgain(form) {
    if (!isIdle()) return;
    form.closest("dialog")?.close();
    const answered = form.closest("article");
    const reply = answered.classList.contains("user") ? null : answered;
    const started = await this.#send({ prompt: form.elements.prompt.value }, newKey(), null, reply);
    if (started) reply?.remove();
  }

  async stopRun() {
    const run = this.messages.querySelector("[data-run]")?.dataset.run;
    if (run) await stop(run, this.composer.token).catch((error) => this.#explain(error));
  }

  // Show the question and an empty reply instead of `replaced`, in one frame; then ask, and follow the run.
  // Resolve to run.started, or to null: then the page is as before and a notice shows the reason.
  async #send(body, key, question, replaced) {
    if (!navigator.onLine) {
      notifyByName("offline");
      return null;
    }
    const live = clone("live-reply");
    clearNotice();
    setState("asking");
    if (question) this.composer.startSending(body.query);
    if (replaced) replaced.hidden = true;
    this.messages.append(...(question ? [question] : []), live);
    this.view.showQuestion(question, live);
    try {
      const started = await this.#askWithToken(body, key);
      live.dataset.run = started.run;
      this.#follow(live);
      return started;
    } catch (error) {
      question?.remove();
      live.remove();
      if (replaced) replaced.hidden = false;
      if (question) this.composer.restoreText();
      setState("idle");
      await this.#explain(error);
      return null;
    }
  }

  // A CSRF token is outdated after a new sign-in in another tab.
  async #askWithToken(body, key) {
    try {
      return await ask(body, key, this.composer.token);
    } catch (error) {
      if (error.code !== "csrf") throw error;
      const field = (await fetchPage()).querySelector("#keys [name=csrfmiddlewaretoken]");
      this.composer.token = /** @type {HTMLInputElement} */ (field).value;
      return await ask(body, key, this.composer.token);
    }
  }

  async #explain(error) {
    if (!(error instanceof Refused)) return notifyByName("unreachable");
    if (error.status === 401) return notifyByName("signed-out");
    if (error.status === 409) await this.settle(); // another tab has asked: show its answer
    if (!error.retryAfter) return notify(error.message);
    this.composer.setDisabled(true);
    notifyFor(error.message, error.retryAfter, () => this.composer.setDisabled(false));
  }

  async #openNew({ conversation, title }) {
    history.pushState({}, "", `/chat/${conversation}/`);
    document.title = document.title.replace(/^.* · /, () => `${title} · `);
    document.getElementById("welcome")?.remove();
    const fresh = await fetchPage().catch(() => null); // the update at the end of the run has it too
    if (fresh) swap(fresh, AROUND);
  }

  // --- following ----------------------------------------------------------------------------------

  // Follow the active run, if there is one.
  followActive() {
    const article = this.messages.querySelector("[data-run]");
    if (article) this.#follow(article);
  }

  #follow(article) {
    const byBlock = document.body.dataset.announce === "blocks";
    const reply = new LiveReply(article, (text) => byBlock && readAloud(text));
    const still = setInterval(() => announce("still-answering"), STILL_SECONDS * 1000);
    let quiet = 0;
    this.followed.add(article.dataset.run);
    const stopReply = () => {
      clearInterval(still);
      reply.end();
    };
    setState("answering");
    announce("answering");
    follow(article.dataset.run, Number(article.dataset.seq), {
      event: (name, data) => reply.apply(name, data),
      lost: () => {
        quiet ||= setTimeout(showConnection, QUIET_SECONDS * 1000, "reconnecting");
      },
      back: () => {
        clearTimeout(quiet);
        quiet = 0;
        showConnection(null);
      },
      done: async () => {
        stopReply();
        await this.settle();
        announceEnd(this.messages.lastElementChild);
      },
      refused: (status) => {
        stopReply();
        this.#giveUp(status);
      },
    });
  }

  // Replace the live reply by the server's page, and follow the active run, if there is one.
  async settle() {
    const fresh = await this.#fetch(undefined, () => showConnection("reconnecting"));
    if (!fresh) return;
    showConnection(null);
    setState("idle");
    this.#applyPage(fresh);
  }

  #applyPage(fresh) {
    const before = this.messages.childElementCount;
    swap(fresh);
    this.view.messagesAdded(Math.max(0, this.messages.childElementCount - before));
    this.followActive();
  }

  // --- changes made elsewhere ---------------------------------------------------------------------

  get id() {
    return this.composer.conversation;
  }

  // Resolve to whether the page is now up to date. While this page asks or follows a run, the messages are
  // not touched: the end of the run updates them.
  async catchUp() {
    const address = location.href;
    const fresh = await this.#fetch();
    // Too late: another conversation is open by now, or the page shows something newer.
    if (!fresh || address !== location.href || lastChange(fresh) < lastChange()) return false;
    document.title = fresh.title;
    if (isIdle()) this.#applyPage(fresh);
    else swap(fresh, AROUND);
    return true;
  }

  async isSignedIn() {
    return (await this.#fetch("/")) !== null;
  }

  // Resolve to null if the user is signed out or the page is gone; a notice says which.
  async #fetch(address, lost) {
    try {
      return await fetchPageRetrying(address, lost);
    } catch (error) {
      this.#giveUp(error.status);
      return null;
    }
  }

  #giveUp(status) {
    setState("idle");
    showConnection(null);
    notifyByName(status === 401 ? "signed-out" : "gone");
  }
}
