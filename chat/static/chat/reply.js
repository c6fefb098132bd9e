// The reply that is being written: a run's events become what a reload would show.

import { dress } from "./copying.js";
import { morph } from "./morph.js";
import { Steps } from "./steps.js";
import { fragment } from "./trusted.js";
import { word } from "./words.js";

const PATIENT_SECONDS = 3; // from then on the wait says how long it is

export class LiveReply {
  // `blockDone` is called with the text of each block that will not change any more.
  constructor(article, blockDone) {
    this.speaker = article.querySelector(".speaker");
    this.steps = new Steps(article.querySelector(".steps"), article.hasAttribute("data-thinking"));
    this.body = article.querySelector(".prose");
    this.open = "";
    this.done = this.body.childElementCount;
    this.blockDone = blockDone;
    this.#countSeconds(article.querySelector(".waiting"));
  }

  take(name, data) {
    switch (name) {
      case "run.started": return this.#start(data);
      case "html": return this.#write(data);
      case "thought": return this.steps.think(data.text);
      case "tool.called": return this.steps.call(data);
      case "tool.returned": return this.steps.answer(data);
      case "file": return this.steps.save(data);
      case "agent": return this.#name(data.name);
      case "replace": return this.#replace(data);
    }
  }

  end() {
    clearInterval(this.timer);
  }

  #start({ agent }) {
    this.#name(agent);
    this.steps.clear();
    this.body.replaceChildren();
    this.done = 0;
  }

  // Its text comes as html. With `keep`, only the text of the latest model call differs.
  #replace({ keep }) {
    if (keep === undefined) this.steps.clear();
  }

  #name(agent) {
    const words = agent.replaceAll("_", " ").trim();
    this.speaker.textContent = words.slice(0, 1).toUpperCase() + words.slice(1);
    this.steps.rest();
  }

  // The blocks before `from` stay; `closed` ones follow, which are final; `open` is still being written
  // and sent from its `keep`-th character on (docs/streaming.md).
  #write({ from, closed, keep, open }) {
    this.open = this.open.slice(0, keep) + open;
    if (closed.length || this.open) this.steps.rest();
    morph(this.body, dress(fragment(closed.join("") + this.open)), from);
    const final = from + closed.length;
    for (const block of [...this.body.children].slice(this.done, final)) this.blockDone(block.innerText);
    this.done = Math.max(this.done, final);
  }

  #countSeconds(waiting) {
    const began = performance.now();
    this.timer = setInterval(() => {
      const seconds = Math.floor((performance.now() - began) / 1000);
      if (this.body.firstChild || !waiting.isConnected) this.end();
      else if (seconds >= PATIENT_SECONDS) waiting.textContent = word("thinking-for").replace("%s", seconds);
    }, 1000);
  }
}
