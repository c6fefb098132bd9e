// The steps of a reply while it is written: thoughts, tool calls and saved files. Sets text only, never HTML.

import { clone, uiString } from "./ui_strings.js";

// Steps that the user has folded or unfolded are left so.
const touched = new WeakSet();

export function startSteps() {
  document.addEventListener("click", (event) => {
    const step = /** @type {Element} */ (event.target).closest("summary")?.parentElement;
    if (step) touched.add(step);
  });
}

export class Steps {
  constructor(list, thinking) {
    this.list = list;
    this.thought = null;
    if (thinking) this.#openThought(list.lastElementChild);
  }

  clear() {
    this.list.replaceChildren();
    this.thought = null;
  }

  addThought(text) {
    if (!this.thought) {
      const step = clone("thought-step");
      step.querySelector(".step-text").replaceChildren(new Text());
      this.list.append(step);
      this.#openThought(step);
    }
    this.thought.appendData(text);
  }

  // Fold the thought, when another step or text follows it.
  endThought() {
    const step = this.thought?.parentElement.closest(".step");
    if (step && !touched.has(step)) step.open = false;
    this.thought = null;
  }

  showCall({ id, name, args }) {
    this.endThought();
    const step = clone("tool-step");
    step.dataset.call = id;
    step.querySelector(".tool-name").textContent = name;
    step.querySelector(".tool-args").textContent = readable(args);
    this.list.append(step);
  }

  showResult({ id, result, error, elapsed_ms: elapsed }) {
    const step = [...this.list.children].findLast((each) => each.dataset.call === id);
    if (!step) return;
    const state = step.querySelector(".tool-state");
    const failed = error !== undefined;
    const outcome = failed ? error : readable(result);
    state.classList.toggle("failed", failed);
    state.textContent = failed ? uiString("failed") : uiString("seconds", (elapsed / 1000).toFixed(1));
    const max = Number(document.body.dataset.outcomeMax);
    // split by characters, not by UTF-16 code units
    const characters = outcome.length > max ? [...outcome] : [outcome];
    const fits = characters.length <= max;
    step.querySelector(".tool-outcome").textContent = fits ? outcome : characters.slice(0, max).join("");
    if (fits) return;
    const rest = clone("tool-rest");
    rest.querySelector("pre").textContent = characters.slice(max).join("");
    step.append(rest);
  }

  showFile({ name, version, note }) {
    this.endThought();
    const step = clone("file-step");
    step.querySelector(".file-name").textContent = name;
    step.querySelector(".file-version").textContent = uiString("version", version);
    step.querySelector(".file-note").textContent = note;
    this.list.append(step);
  }

  #openThought(step) {
    const text = step.querySelector(".step-text");
    if (text.firstChild?.nodeType !== Node.TEXT_NODE) text.prepend(new Text());
    this.thought = text.firstChild;
    step.open = true;
  }
}

const readable = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 2));
