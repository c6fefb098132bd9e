// Scrolling to the newest text, unless the user scrolls up, or has chosen to stay at the question.

import { uiString } from "./ui_strings.js";

const SLACK = 48; // pixels from the end that count as the end

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

  // Scroll to a new question; `live` is the empty reply below it.
  showQuestion(question, live) {
    if (this.follows || !question) return this.toEnd();
    this.sticks = false;
    // space below, so that the question can be at the top before the reply has text
    const style = getComputedStyle(this.view.firstElementChild);
    const gap = live.getBoundingClientRect().top - question.getBoundingClientRect().bottom;
    const space = this.view.clientHeight - question.offsetHeight - gap - parseFloat(style.paddingBlockEnd);
    live.style.minBlockSize = `${Math.max(0, Math.floor(space))}px`;
    question.scrollIntoView({ block: "start", behavior: "instant" });
  }

  // Scroll to the end, unless the address names a message: the browser scrolls there.
  begin() {
    this.sticks = !this.view.contains(document.getElementById(location.hash.slice(1)));
    if (this.sticks) this.toEnd();
  }

  toEnd(behavior = "instant") {
    this.sticks = this.follows;
    this.unseen = 0;
    const reducesMotion = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.view.scrollTo({ top: this.view.scrollHeight, behavior: reducesMotion ? "instant" : behavior });
    this.#updateJump();
  }

  // Stay at this place while the messages change.
  stay() {
    this.sticks = false;
  }

  moveBy(pixels) {
    this.view.scrollTop += pixels;
  }

  // Count messages that came from elsewhere.
  messagesAdded(count) {
    if (!this.sticks && this.gap > SLACK) this.unseen += count;
    this.#updateJump();
  }

  #scrolled() {
    // Content that shrinks moves the view up too; that is not the user's scrolling.
    if (this.gap <= SLACK) {
      this.sticks = this.follows;
      this.unseen = 0;
    } else if (this.view.scrollTop < this.last - 1) this.sticks = false;
    this.last = this.view.scrollTop;
    this.#updateJump();
  }

  #resized() {
    if (this.sticks) this.view.scrollTo({ top: this.view.scrollHeight, behavior: "instant" });
    this.#updateJump();
  }

  #updateJump() {
    this.jump.hidden = this.sticks || this.gap <= SLACK;
    const count = this.unseen ? uiString("new-messages", this.unseen) : "";
    this.jump.querySelector("#jump-count").textContent = count;
  }
}
