// The reply being written: shows a run's events as a reload would show them.

import { RenderedBody } from "./rendered_body.js";
import { Steps } from "./steps.js";
import { clone, uiString } from "./ui_strings.js";
import { newestPager } from "./versions.js";

const LONG_SECONDS = 3; // a longer wait shows its duration

export class LiveReply {
  // `blockDone` is called with the text of each block that is final.
  constructor(article, blockDone) {
    this.article = article;
    this.speaker = article.querySelector(".speaker");
    this.steps = new Steps(article.querySelector(".steps"), article.hasAttribute("data-thinking"));
    this.body = article.querySelector(".prose");
    this.text = new RenderedBody(this.body);
    this.done = this.body.childElementCount;
    this.blockDone = blockDone;
    this.#countSeconds(article.querySelector(".reply-waiting"));
  }

  apply(name, data) {
    switch (name) {
      case "run.started": return this.#start(data);
      case "html": return this.#write(data);
      case "thought": return this.steps.addThought(data);
      case "tool.called": return this.steps.showCall(data);
      case "tool.returned": return this.steps.showResult(data);
      case "waiting": return data.job ? undefined : this.steps.showAsking(data.call);
      case "sources": return this.#showSources(data);
      case "file": return this.steps.showFile(data);
      case "step": return this.steps.showNode(data);
      case "agent.failed": return this.steps.showFailed(displayName(data.name), data.detail);
      case "agent":
        this.article.toggleAttribute("data-other-agent", data.name !== this.article.dataset.agent);
        return this.#name(data.name);
      case "replace": return this.#replace(data);
    }
  }

  end() {
    clearInterval(this.timer);
  }

  #start({ agent }) {
    this.article.dataset.agent = agent;
    this.#name(agent);
    this.steps.clear();
    this.body.replaceChildren();
    this.article.querySelector(".sources")?.remove();
    this.done = 0;
  }

  // The new text comes as an html event. With `keep`, only the latest model call's text differs: keep the steps.
  // `kept` is the message that has the old text, after a restart of the server.
  #replace({ keep, kept }) {
    if (keep === undefined) this.steps.clear();
    if (!kept) return;
    this.article.querySelector(".restarted").hidden = false;
    const pager = newestPager(this.article, kept);
    this.article.querySelector(".message-actions").replaceChildren(pager);
  }

  #showSources({ items, queries }) {
    const section = clone("sources");
    section.querySelector("ol").append(...items.map(sourceItem));
    if (queries.length) {
      const searched = clone("searched");
      searched.append(...queries.flatMap((query, n) => [n ? " " : "", quoted(query)]));
      section.append(searched);
    }
    this.article.querySelector(".sources")?.remove();
    this.body.after(section);
  }

  #name(agent) {
    this.speaker.textContent = displayName(agent);
    this.steps.endThought();
  }

  #write(data) {
    if (data.closed.length || data.open || data.keep) this.steps.endThought();
    this.text.write(data);
    const final = data.from + data.closed.length;
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

function displayName(agent) {
  const name = agent.replaceAll("_", " ").trim();
  return name.slice(0, 1).toUpperCase() + name.slice(1);
}

// The address of a source is http or https, or absent: the server has checked it.
function sourceItem({ title, uri, host }) {
  const item = clone("source");
  const link = item.querySelector("a");
  item.querySelector("bdi").textContent = title;
  if (uri) link.href = uri;
  else link.replaceWith(...link.childNodes);
  const place = item.querySelector(".source-host");
  if (host && host !== title) place.textContent = host;
  else place.remove();
  return item;
}

function quoted(words) {
  const quote = document.createElement("q");
  quote.textContent = words;
  return quote;
}
