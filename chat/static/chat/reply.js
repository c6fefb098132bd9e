// The reply being written: shows a run's events as a reload would show them.

import { addCodeButtons } from "./copying.js";
import { morph } from "./morph.js";
import { Steps } from "./steps.js";
import { parseFragment } from "./trusted_html.js";
import { uiString } from "./ui_strings.js";

const LONG_SECONDS = 3; // a longer wait shows its duration

export class LiveReply {
  // `blockDone` is called with the text of each block that is final.
  constructor(article, blockDone) {
    this.speaker = article.querySelector(".speaker");
    this.steps = new Steps(article.querySelector(".steps"), article.hasAttribute("data-thinking"));
    this.body = article.querySelector(".prose");
    this.open = "";
    this.done = this.body.childElementCount;
    this.blockDone = blockDone;
    this.#countSeconds(article.querySelector(".reply-waiting"));
  }

  apply(name, data) {
    switch (name) {
      case "run.started": return this.#start(data);
      case "html": return this.#write(data);
      case "thought": return this.steps.addThought(data.text);
      case "tool.called": return this.steps.showCall(data);
      case "tool.returned": return this.steps.showResult(data);
      case "file": return this.steps.showFile(data);
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

  // The new text comes as an html event. With `keep`, only the latest model call's text differs: keep the steps.
  #replace({ keep }) {
    if (keep === undefined) this.steps.clear();
  }

  #name(agent) {
    const name = agent.replaceAll("_", " ").trim();
    this.speaker.textContent = name.slice(0, 1).toUpperCase() + name.slice(1);
    this.steps.endThought();
  }

  // Keep the blocks before `from`; add the `closed` ones, which are final; `open` is still being written, and
  // is sent from its `keep`-th character on (docs/streaming.md).
  #write({ from, closed, keep, open }) {
    this.open = this.open.slice(0, keep) + open;
    if (closed.length || this.open) this.steps.endThought();
    morph(this.body, addCodeButtons(parseFragment(closed.join("") + this.open)), from);
    const final = from + closed.length;
    for (const block of [...this.body.children].slice(this.done, final)) this.blockDone(block.innerText);
    this.done = Math.max(this.done, final);
  }

  #countSeconds(waiting) {
    const began = performance.now();
    this.timer = setInterval(() => {
      const seconds = Math.floor((performance.now() - began) / 1000);
      if (this.body.firstChild || !waiting.isConnected) this.end();
      else if (seconds >= LONG_SECONDS) waiting.textContent = uiString("thinking-for", seconds);
    }, 1000);
  }
}
