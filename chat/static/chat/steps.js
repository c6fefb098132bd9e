// What the agent does besides writing: its thoughts, its tools and the files it saves, as they happen. Text only ever text.

import { build, word } from "./words.js";

const SHOWN_OUTCOME = 2000; // characters, as in chat/pages/transcript.py

// Steps that the person has folded or unfolded are left so.
const touched = new WeakSet();
document.addEventListener("click", (event) => {
  const step = event.target.closest("summary")?.parentElement;
  if (step) touched.add(step);
});

export class Steps {
  constructor(list, thinking) {
    this.list = list;
    this.thought = null;
    if (thinking) this.#follow(list.lastElementChild);
  }

  clear() {
    this.list.replaceChildren();
    this.thought = null;
  }

  think(text) {
    if (!this.thought) {
      const step = build("thought-step");
      step.querySelector(".step-text").replaceChildren(new Text());
      this.list.append(step);
      this.#follow(step);
    }
    this.thought.appendData(text);
  }

  // The thought is over: something else happens.
  rest() {
    const step = this.thought?.parentElement.closest(".step");
    if (step && !touched.has(step)) step.open = false;
    this.thought = null;
  }

  call({ id, name, args }) {
    this.rest();
    const step = build("tool-step");
    step.dataset.call = id;
    step.querySelector(".tool-name").textContent = name;
    step.querySelector(".tool-args").textContent = readable(args);
    this.list.append(step);
  }

  answer({ id, result, error, elapsed_ms: elapsed }) {
    const step = [...this.list.children].findLast((each) => each.dataset.call === id);
    if (!step) return;
    const state = step.querySelector(".tool-state");
    const failed = error !== undefined;
    const outcome = failed ? error : readable(result);
    state.classList.toggle("failed", failed);
    state.textContent = failed ? word("failed") : word("seconds").replace("%s", (elapsed / 1000).toFixed(1));
    // by characters, not by halves of them
    const characters = outcome.length > SHOWN_OUTCOME ? [...outcome] : [outcome];
    const fits = characters.length <= SHOWN_OUTCOME;
    step.querySelector(".tool-outcome").textContent = fits ? outcome : characters.slice(0, SHOWN_OUTCOME).join("");
    if (fits) return;
    const rest = build("tool-rest");
    rest.querySelector("pre").textContent = characters.slice(SHOWN_OUTCOME).join("");
    step.append(rest);
  }

  save({ name, version, note }) {
    this.rest();
    const step = build("file-step");
    step.querySelector(".file-name").textContent = name;
    step.querySelector(".file-version").textContent = word("version").replace("%s", version);
    step.querySelector(".file-note").textContent = note;
    this.list.append(step);
  }

  #follow(step) {
    const text = step.querySelector(".step-text");
    if (text.firstChild?.nodeType !== Node.TEXT_NODE) text.prepend(new Text());
    this.thought = text.firstChild;
    step.open = true;
  }
}

const readable = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 2));
