// The reply that is being written: a run's events become nodes, and text only ever text.

import { build, word } from "./words.js";

export class LiveReply {
  constructor(article) {
    this.article = article;
    this.speaker = article.querySelector(".speaker");
    this.steps = article.querySelector(".steps");
    this.body = article.querySelector(".plain");
    this.tools = new Map();
  }

  take(name, data) {
    switch (name) {
      case "run.started": return this.#start(data);
      case "text": return this.#write(data.text);
      case "thought": return this.#think(data.text);
      case "tool.called": return this.#call(data);
      case "tool.returned": return this.#return(data);
      case "agent": return this.#name(data.name);
      case "replace": return this.#reset(data.text);
    }
  }

  #start({ agent }) {
    this.#name(agent);
    this.#reset("");
  }

  #reset(text) {
    this.steps.replaceChildren();
    this.tools.clear();
    this.thought = null;
    this.text = new Text(text);
    this.body.replaceChildren(...(text ? [this.text] : []));
  }

  #name(agent) {
    const words = agent.replaceAll("_", " ").trim();
    this.speaker.textContent = words.slice(0, 1).toUpperCase() + words.slice(1);
    this.thought = null;
  }

  #write(text) {
    this.thought = null;
    this.text.appendData(text);
    if (!this.text.isConnected) this.body.append(this.text);
  }

  #think(text) {
    if (!this.thought) {
      const step = build("thought-step");
      this.thought = new Text();
      step.querySelector(".step-text").replaceChildren(this.thought);
      this.steps.append(step);
    }
    this.thought.appendData(text);
  }

  #call({ id, name, args }) {
    this.thought = null;
    const step = build("tool-step");
    step.querySelector(".tool-name").textContent = name;
    step.querySelector(".tool-args").textContent = readable(args);
    this.tools.set(id, step);
    this.steps.append(step);
  }

  #return({ id, result, error, elapsed_ms: elapsed }) {
    const step = this.tools.get(id);
    if (!step) return;
    const state = step.querySelector(".tool-state");
    const failed = error !== undefined;
    state.classList.toggle("failed", failed);
    state.textContent = failed ? word("failed") : word("seconds").replace("%s", (elapsed / 1000).toFixed(1));
    step.querySelector(".tool-outcome").textContent = failed ? error : readable(result);
  }
}

const readable = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 2));
