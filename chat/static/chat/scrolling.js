// The newest words stay in view, unless the person scrolls up to read, or would rather stay at the question.

import { word } from "./words.js";

const SLACK = 48; // pixels from the end that still count as the end

export class View {
  constructor(view, jump) {
    this.view = view;
    this.jump = jump;
    this.last = 0;
    this.unseen = 0;
    view.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    const watcher = new ResizeObserver(() => this.#resized());
    watcher.observe(view);
    for (const child of view.children) watcher.observe(child);
    jump.addEventListener("click", () => this.toEnd("smooth"));
  }

  get follows() {
    return document.body.dataset.follow !== "off";
  }

  get gap() {
    return this.view.scrollHeight - this.view.scrollTop - this.view.clientHeight;
  }

  // The person has asked `question`, and `live` is the reply to come.
  asked(question, live) {
    if (this.follows || !question) return this.toEnd();
    this.sticks = false;
    // room below, so that the question can be at the top from the first word on
    const style = getComputedStyle(this.view.firstElementChild);
    const gap = live.getBoundingClientRect().top - question.getBoundingClientRect().bottom;
    const room = this.view.clientHeight - question.offsetHeight - gap - parseFloat(style.paddingBlockEnd);
    live.style.minBlockSize = `${Math.max(0, Math.floor(room))}px`;
    question.scrollIntoView({ block: "start", behavior: "instant" });
  }

  // To the end, unless the address names a place in the messages: the browser goes there by itself.
  begin() {
    this.sticks = !this.view.contains(document.getElementById(location.hash.slice(1)));
    if (this.sticks) this.toEnd();
  }

  toEnd(behavior = "instant") {
    this.sticks = this.follows;
    this.unseen = 0;
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.view.scrollTo({ top: this.view.scrollHeight, behavior: calm ? "instant" : behavior });
    this.#look();
  }

  // Messages have come that nobody asked for here.
  came(count) {
    if (!this.sticks && this.gap > SLACK) this.unseen += count;
    this.#look();
  }

  #scrolled() {
    // Content that shrinks moves the view up as well; that is nobody's wish to read.
    if (this.gap <= SLACK) {
      this.sticks = this.follows;
      this.unseen = 0;
    } else if (this.view.scrollTop < this.last - 1) this.sticks = false;
    this.last = this.view.scrollTop;
    this.#look();
  }

  #resized() {
    if (this.sticks) this.view.scrollTo({ top: this.view.scrollHeight, behavior: "instant" });
    this.#look();
  }

  #look() {
    this.jump.hidden = this.sticks || this.gap <= SLACK;
    const count = this.unseen ? word("new-messages").replace("%s", this.unseen) : "";
    this.jump.querySelector("#jump-count").textContent = count;
  }
}
