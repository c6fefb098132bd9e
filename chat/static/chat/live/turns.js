// Turns of a call on the page: each is a question, whose words come while it is spoken, and the reply of a run.

export class Turns {
  constructor(page) {
    this.page = page;
    this.messages = page.following.messages;
    this.run = ""; // the newest one
    this.heard = { text: "", final: false }; // of its question
  }

  // Show the turn of `run`, whose question is `text` so far.
  begin(run, text, final) {
    const { following, view } = this.page;
    this.run = run;
    this.heard = { text, final };
    // The turn before may still be followed, or another socket has told the page of this one: take the server's page.
    if (following.leave || following.settling || this.messages.querySelector(".live")) return this.#settle();
    const question = this.page.questionOf(text, []);
    const live = this.page.clone("live-reply");
    live.dataset.run = run;
    live.toggleAttribute("data-hearing", !final);
    this.messages.append(question, live);
    view.showQuestion(question, live);
    following.follow(live);
  }

  // Show what was said of the newest question.
  hear(text, final) {
    this.heard = { text, final };
    this.page.following.replyOf(this.run)?.apply("heard", this.heard);
  }

  async #settle() {
    await this.page.following.settle();
    this.hear(this.heard.text, this.heard.final);
  }
}
