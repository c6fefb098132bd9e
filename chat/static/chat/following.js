// Following a run: shows and announces its events, and updates the page from the server when it has ended.

import { followEvents } from "./event_stream.js";
import { announce, announceEnd, readAloud, showConnection } from "./notices.js";
import { fetchOrGiveUp, giveUp, swap } from "./refreshing.js";
import { LiveReply } from "./reply.js";

const STILL_SECONDS = 7; // between announcements that a long answer is still being written
const QUIET_SECONDS = 2; // a shorter interruption of the connection is not shown

export class Following {
  constructor(messages, view) {
    this.messages = messages;
    this.view = view;
    this.followed = new Set(); // runs followed by this page, which updates itself when they end
  }

  // Follow the active run, if there is one.
  followActive() {
    const article = this.messages.querySelector("[data-run]");
    if (article) this.follow(article);
  }

  follow(article) {
    const byBlock = document.body.dataset.announce === "blocks";
    const reply = new LiveReply(article, (text) => byBlock && readAloud(text));
    const still = setInterval(() => announce("still-answering"), STILL_SECONDS * 1000);
    let quiet = 0;
    this.followed.add(article.dataset.run);
    const stopReply = () => {
      clearInterval(still);
      reply.end();
    };
    document.body.dataset.state = "answering";
    announce("answering");
    followEvents(article.dataset.run, Number(article.dataset.seq), {
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
        clearTimeout(quiet);
        stopReply();
        giveUp(status);
      },
    });
  }

  // Replace the live reply by the server's page, and follow the active run, if there is one.
  async settle() {
    const fresh = await fetchOrGiveUp(undefined, () => showConnection("reconnecting"));
    if (!fresh) return;
    showConnection(null);
    this.show(fresh);
  }

  show(fresh) {
    document.body.dataset.state = "idle";
    const before = this.messages.childElementCount;
    swap(fresh);
    this.view.messagesAdded(Math.max(0, this.messages.childElementCount - before));
    this.followActive();
  }
}
