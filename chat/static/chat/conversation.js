// A conversation that is alive: asking in it, following its answer, and what the page is afterwards.

import { Refused, ask, newKey, stop } from "./asking.js";
import { lastChange } from "./elsewhere.js";
import { follow } from "./following.js";
import { alarm, announce, clearNotice, notify, notifyFor, notifyWord, speak, tellConnection } from "./notices.js";
import { fetchPage, fetchPagePatiently, swap } from "./refreshing.js";
import { LiveReply } from "./reply.js";
import { build, word } from "./words.js";

const STILL_SECONDS = 7; // how often a long answer says that it goes on
const QUIET_SECONDS = 2; // a connection that is back by then was not worth a word
const SPOKEN_WHOLE = 600; // characters of an answer that are read aloud at once

const AROUND = ["conversations", "pane-title", "pane-acts", "deleting"]; // the page around the messages

const setState = (state) => (document.body.dataset.state = state);
const isIdle = () => document.body.dataset.state === "idle";

export class LiveConversation {
  constructor(messages, composer, view) {
    this.messages = messages;
    this.composer = composer;
    this.view = view;
    this.followed = new Set(); // runs that were asked for or followed here: such a one brings its own end
  }

  // --- asking -------------------------------------------------------------------------------------

  async askQuery(text) {
    const composer = this.composer;
    const question = build("user-turn");
    question.querySelector(".bubble").textContent = text;
    const place = composer.conversation ? { conversation: composer.conversation } : {};
    if (!composer.conversation && composer.agent) place.agent = composer.agent;
    const welcome = document.getElementById("welcome");
    const started = await this.#send({ query: text, ...place }, composer.keyFor(text), question, welcome);
    if (!started) return;
    const isNew = !composer.conversation;
    composer.accepted(started.conversation);
    if (isNew) await this.#begin(started);
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

  // Show the question and a reply to come in place of `replaced`, all in one frame; ask, and follow. Resolves
  // to run.started, or null: then the page is as before and a notice says why.
  async #send(body, key, question, replaced) {
    if (!navigator.onLine) {
      notifyWord("offline");
      return null;
    }
    const live = build("live-turn");
    clearNotice();
    setState("asking");
    if (question) this.composer.empty(body.query);
    if (replaced) replaced.hidden = true;
    this.messages.append(...(question ? [question] : []), live);
    this.view.asked(question, live);
    try {
      const started = await this.#askWithFreshToken(body, key);
      live.dataset.run = started.run;
      this.#follow(live);
      return started;
    } catch (error) {
      question?.remove();
      live.remove();
      if (replaced) replaced.hidden = false;
      if (question) this.composer.putBack();
      setState("idle");
      await this.#explain(error);
      return null;
    }
  }

  // A token is outdated when the person has signed in anew in another tab.
  async #askWithFreshToken(body, key) {
    try {
      return await ask(body, key, this.composer.token);
    } catch (error) {
      if (error.code !== "csrf") throw error;
      this.composer.token = (await fetchPage()).querySelector("#keys [name=csrfmiddlewaretoken]").value;
      return await ask(body, key, this.composer.token);
    }
  }

  async #explain(error) {
    if (!(error instanceof Refused)) return notifyWord("unreachable");
    if (error.status === 401) return notifyWord("signed-out");
    if (error.status === 409) await this.settle(); // another tab asked: show its answer
    if (!error.retryAfter) return notify(error.message);
    this.composer.hold(true);
    notifyFor(error.message, error.retryAfter, () => this.composer.hold(false));
  }

  async #begin({ conversation, title }) {
    history.pushState({}, "", `/chat/${conversation}/`);
    document.title = document.title.replace(/^.* · /, () => `${title} · `);
    document.getElementById("welcome")?.remove();
    const fresh = await fetchPage().catch(() => null); // the end of the run brings it too
    if (fresh) swap(fresh, AROUND);
  }

  // --- following ----------------------------------------------------------------------------------

  // Follow what runs now, if anything does.
  followActive() {
    const article = this.messages.querySelector("[data-run]");
    if (article) this.#follow(article);
  }

  #follow(article) {
    const byBlock = document.body.dataset.announce === "blocks";
    const reply = new LiveReply(article, (text) => byBlock && speak(text));
    const still = setInterval(() => announce("still-answering"), STILL_SECONDS * 1000);
    let quiet = 0;
    this.followed.add(article.dataset.run);
    const over = () => {
      clearInterval(still);
      reply.end();
    };
    setState("answering");
    announce("answering");
    follow(article.dataset.run, Number(article.dataset.seq), {
      event: (name, data) => reply.take(name, data),
      lost: () => {
        quiet ||= setTimeout(tellConnection, QUIET_SECONDS * 1000, "reconnecting");
      },
      back: () => {
        clearTimeout(quiet);
        quiet = 0;
        tellConnection(null);
      },
      done: async () => {
        over();
        await this.settle();
        this.#tellEnd();
      },
      refused: (status) => {
        over();
        this.#giveUp(status);
      },
    });
  }

  #tellEnd() {
    const last = this.messages.lastElementChild;
    const ending = last?.querySelector(".ending");
    announce(ending ? "ended" : "complete");
    if (last?.querySelector(".broken")) alarm(ending.textContent);
    else if (document.body.dataset.announce === "whole") speak(spoken(last?.querySelector(".prose")));
  }

  // The server's page in place of what was live; and whatever runs now is followed.
  async settle() {
    let fresh;
    try {
      fresh = await fetchPagePatiently(() => tellConnection("reconnecting"));
    } catch (error) {
      return this.#giveUp(error.status);
    }
    tellConnection(null);
    setState("idle");
    this.#take(fresh);
  }

  #take(fresh) {
    const before = this.messages.querySelectorAll("article").length;
    swap(fresh);
    this.view.came(Math.max(0, this.messages.querySelectorAll("article").length - before));
    this.followActive();
  }

  // --- what happens elsewhere ---------------------------------------------------------------------

  get id() {
    return this.composer.conversation;
  }

  // Resolves to whether the page shows it now. While something is asked or followed here, the messages
  // wait: its end brings them.
  async catchUp() {
    const address = location.href;
    const fresh = await this.#fetch();
    // It came too late where another conversation is open, or something newer is shown.
    if (!fresh || address !== location.href || lastChange(fresh) < lastChange()) return false;
    document.title = fresh.title;
    if (isIdle()) this.#take(fresh);
    else swap(fresh, AROUND);
    return true;
  }

  async isSignedIn() {
    return (await this.#fetch("/")) !== null;
  }

  async #fetch(address) {
    try {
      return await fetchPagePatiently(() => {}, address);
    } catch (error) {
      this.#giveUp(error.status);
      return null;
    }
  }

  #giveUp(status) {
    setState("idle");
    tellConnection(null);
    notifyWord(status === 401 ? "signed-out" : "gone");
  }
}

function spoken(prose) {
  const text = prose?.innerText ?? "";
  return text.length <= SPOKEN_WHOLE ? text : word("long").replace("%s", text.length);
}
