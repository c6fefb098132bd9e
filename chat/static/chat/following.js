// Following a run: shows and announces its events, and updates the page from the server when it has ended.

import { noticeEnd } from "./attention.js";
import { followEvents } from "./event_stream.js";
import { announce, announceEnd, announceText, clearNotice, readAloud, showConnection } from "./notices.js";
import { fetchOrGiveUp, giveUp, swap } from "./refreshing.js";
import { LiveReply } from "./reply.js";
import { pageAddress } from "./requests.js";
import { uiString } from "./ui_strings.js";

const STILL_SECONDS = 7; // between announcements that a long answer is still being written
const QUIET_SECONDS = 2; // a shorter interruption of the connection is not shown

export class Following {
  constructor(messages, view) {
    this.messages = messages;
    this.view = view;
    this.followed = new Set(); // runs followed by this page, which updates itself when they end
    this.leave = null; // stops following the active run; null if none is followed
    this.reply = null; // the one that is being written
    this.settling = null; // promise of the update that is under way
  }

  // Whether the messages change by themselves, so that an update from the server must wait. A reply is live until the
  // page has been updated at its end.
  get isBusy() {
    const { state } = document.body.dataset;
    return state === "asking" || (state === "answering" && this.messages.querySelector(".live") !== null);
  }

  // Follow the active run, if there is one.
  followActive() {
    const article = this.messages.querySelector("[data-run]");
    if (article) this.follow(article);
  }

  // `asked` is the response to the ask, if this page has asked: run.started, and the reader of the rest.
  follow(article, asked = null) {
    const byBlock = document.body.dataset.announce === "blocks";
    const reply = new LiveReply(article, (text) => byBlock && readAloud(text), { showsFiles: true });
    this.reply = reply;
    const still = setInterval(() => announce("still-answering"), STILL_SECONDS * 1000);
    let quiet = 0;
    this.followed.add(article.dataset.run);
    const stopReply = () => {
      clearInterval(still);
      reply.end();
      this.leave = null;
    };
    document.body.dataset.state = "answering";
    announce("answering");
    if (asked) reply.apply("run.started", asked.started);
    const handlers = {
      event: (name, data) => reply.apply(name, data),
      lost: () => {
        quiet ||= setTimeout(showConnection, QUIET_SECONDS * 1000, "reconnecting");
      },
      back: () => {
        clearTimeout(quiet);
        quiet = 0;
        showConnection(null);
        clearNotice("offline", "unreachable");
      },
      done: async () => {
        noticeEnd({ run: article.dataset.run, conversation: location.pathname.split("/")[2] });
        stopReply();
        await this.settle();
        // A queued message may have been asked at the end.
        if (document.body.dataset.state === "answering") announceText(`${uiString("ended")} ${uiString("next-asked")}`);
        else announceEnd(this.messages.lastElementChild);
      },
      refused: (status) => {
        clearTimeout(quiet);
        stopReply();
        giveUp(status);
      },
    };
    const address = `/chat/runs/${article.dataset.run}/events`;
    const close = followEvents(address, asked ? 1 : Number(article.dataset.seq), handlers, asked?.reader);
    this.leave = () => {
      close();
      clearTimeout(quiet);
      showConnection(null);
      stopReply();
      this.followed.delete(article.dataset.run);
    };
  }

  // Return the reply of `run`, if it is being written.
  replyOf(run) {
    return this.leave && this.reply.article.dataset.run === run ? this.reply : null;
  }

  // Replace the live reply by the server's page, and follow the active run, if there is one.
  async settle() {
    // One after the other: an older page would take away what a newer one has shown.
    const mine = (this.settling ?? Promise.resolve()).then(() => this.#takePage());
    this.settling = mine;
    await mine;
    if (this.settling === mine) this.settling = null;
  }

  async #takePage() {
    const fresh = await fetchOrGiveUp(undefined, () => showConnection("reconnecting"));
    if (!fresh) return;
    showConnection(null);
    this.show(fresh);
  }

  // Show the server's page. It may show another branch than the one that is being answered.
  show(fresh) {
    this.leave?.();
    history.replaceState(history.state, "", pageAddress());
    document.body.dataset.state = fresh.body.dataset.state;
    if (document.body.dataset.state === "idle") clearNotice("busy", "still-busy");
    const before = this.messages.childElementCount;
    swap(fresh);
    this.view.messagesAdded(Math.max(0, this.messages.childElementCount - before));
    this.followActive();
  }
}
