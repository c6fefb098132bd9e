// Asking: from a question, or Regenerate, to run.started, then following.js follows the run; and Stop.

import { clearNotice, notify, notifyByName, notifyFor } from "./notices.js";
import { AROUND, swap } from "./refreshing.js";
import { Refused, fetchPage, newKey, postAsk, postStop } from "./requests.js";
import { clone } from "./ui_strings.js";

export class Asking {
  constructor(messages, composer, view, following) {
    this.messages = messages;
    this.composer = composer;
    this.view = view;
    this.following = following;
  }

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
    if (document.body.dataset.state !== "idle") return;
    form.closest("dialog")?.close();
    const answered = form.closest("article");
    const reply = answered.classList.contains("user") ? null : answered;
    const started = await this.#send({ prompt: form.elements.prompt.value }, newKey(), null, reply);
    if (started) reply?.remove();
  }

  async stopRun() {
    const run = this.messages.querySelector("[data-run]")?.dataset.run;
    if (run) await postStop(run, this.composer.token).catch((error) => this.#explain(error));
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
    document.body.dataset.state = "asking";
    if (question) this.composer.startSending(body.query);
    if (replaced) replaced.hidden = true;
    this.messages.append(...(question ? [question] : []), live);
    this.view.showQuestion(question, live);
    try {
      const started = await this.#askWithToken(body, key);
      live.dataset.run = started.run;
      this.following.follow(live);
      return started;
    } catch (error) {
      question?.remove();
      live.remove();
      if (replaced) replaced.hidden = false;
      if (question) this.composer.restoreText();
      document.body.dataset.state = "idle";
      await this.#explain(error);
      return null;
    }
  }

  // A CSRF token is outdated after a new sign-in in another tab.
  async #askWithToken(body, key) {
    try {
      return await postAsk(body, key, this.composer.token);
    } catch (error) {
      if (error.code !== "csrf") throw error;
      const field = (await fetchPage()).querySelector("#keys [name=csrfmiddlewaretoken]");
      this.composer.token = /** @type {HTMLInputElement} */ (field).value;
      return await postAsk(body, key, this.composer.token);
    }
  }

  async #explain(error) {
    if (!(error instanceof Refused)) return notifyByName("unreachable");
    if (error.status === 401) return notifyByName("signed-out");
    if (error.status === 409) await this.following.settle(); // another tab has asked: show its answer
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
}
