// The reply being written: shows a run's events as a reload would show them.

import { fileCard } from "./file_cards.js";
import { forgetReadAloud } from "./notices.js";
import { RenderedBody } from "./rendered_body.js";
import { Steps } from "./steps.js";
import { clone, uiString } from "./ui_strings.js";
import { newestPager } from "./versions.js";

const LONG_SECONDS = 3; // a longer wait shows its duration

export class LiveReply {
  // `blockDone` is called with the text of each block that is final. With `showsFiles`, files are cards.
  constructor(article, blockDone, { showsFiles = false } = {}) {
    this.article = article;
    this.speaker = article.querySelector(".speaker");
    this.steps = new Steps(article.querySelector(".steps"), article.hasAttribute("data-thinking"));
    this.text = new RenderedBody(...article.querySelectorAll(":scope > .prose"));
    this.done = this.text.blocks.length;
    this.blockDone = blockDone;
    this.showsFiles = showsFiles;
    this.#countSeconds(article.querySelector(".reply-waiting"));
  }

  apply(name, data) {
    switch (name) {
      case "run.started": return this.#start(data);
      case "heard": return this.#showHeard(data);
      case "html": return this.#write(data);
      case "thought": return this.steps.addThought(data);
      case "tool.called": return this.steps.showCall(data);
      case "tool.returned": return this.steps.showResult(data);
      case "waiting": return data.job ? undefined : this.steps.showAsking(data.call);
      case "sources": return this.#showSources(data);
      case "file": return this.#showFile(data);
      case "step": return this.steps.showNode(data);
      case "agent.failed": return this.steps.showFailed(displayName(data.name), data.detail);
      case "agent":
        this.article.toggleAttribute("data-other-agent", data.name !== this.article.dataset.agent);
        return this.#name(data.name);
      case "replace": return this.#replace(data);
      case "run.stopped": return data.code === "moderated" ? this.#showModerated(data) : undefined;
    }
  }

  end() {
    clearInterval(this.timer);
  }

  #start({ agent }) {
    this.article.dataset.agent = agent;
    this.#name(agent);
    this.steps.clear();
    this.text.clear();
    this.article.querySelector(".sources")?.remove();
    this.done = 0;
  }

  // What the member has said so far, while it is spoken.
  #showHeard({ text, final }) {
    const bubble = this.article.previousElementSibling?.querySelector(".bubble");
    if (bubble) bubble.textContent = text;
    this.article.toggleAttribute("data-hearing", !final && !this.text.blocks.length);
    this.began = performance.now();
  }

  // The new text comes as an html event. With `keep`, only the latest model call's text differs: keep the steps.
  // `kept` is the message that has the old text, after a restart of the server.
  #replace({ keep, kept }) {
    if (keep === undefined) {
      this.steps.clear();
      this.text.clear();
      this.article.querySelector(".sources")?.remove();
    }
    if (!kept) return;
    this.article.querySelector(".restarted").hidden = false;
    const pager = newestPager(this.article, kept);
    this.article.querySelector(".message-actions").replaceChildren(pager);
  }

  // Until the page is updated, which may take a while without a connection.
  #showModerated({ detail }) {
    this.end();
    const note = clone("tombstone");
    note.querySelector(".ending").textContent = detail;
    this.article.querySelector(".reply-waiting").remove();
    this.text.clear();
    this.text.last.removeAttribute("aria-busy");
    this.text.last.after(note);
    forgetReadAloud();
  }

  // A file that was made before files were stored has only a name.
  #showFile(data) {
    if (!this.showsFiles || !data.file) return this.steps.showFile(data);
    this.steps.endThought();
    this.text.addFile(fileCard(data));
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
    this.text.last.after(section);
  }

  #name(agent) {
    this.speaker.textContent = displayName(agent);
    this.steps.endThought();
  }

  #write(data) {
    if (data.closed.length || data.open || data.keep) this.steps.endThought();
    this.article.removeAttribute("data-hearing");
    this.text.write(data);
    const final = data.from + data.closed.length;
    for (const block of this.text.blocks.slice(this.done, final)) this.blockDone(block.innerText);
    this.done = Math.max(this.done, final);
  }

  #countSeconds(waiting) {
    this.began = performance.now();
    this.timer = setInterval(() => {
      const seconds = Math.floor((performance.now() - this.began) / 1000);
      if (this.text.blocks.length || !waiting.isConnected) this.end();
      else if (seconds >= LONG_SECONDS && !this.article.hasAttribute("data-hearing")) waiting.textContent = uiString("thinking-for", seconds);
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
