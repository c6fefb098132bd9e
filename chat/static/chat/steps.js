// The steps of a reply while it is written: thoughts, tool calls and saved files.

import { RenderedBody } from "./rendered_body.js";
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
    for (const step of this.list.querySelectorAll(":scope > .step")) step.remove();
    this.thought = null;
  }

  // As for the reply: the first event of a thought, or of a connection, has all of it.
  addThought(data) {
    if (!this.thought) {
      const step = clone("thought-step");
      this.list.append(step);
      this.#openThought(step);
    }
    this.thought.write(data);
  }

  // Fold the thought, when another step or text follows it.
  endThought() {
    const step = this.thought?.last.closest(".step");
    step?.removeAttribute("data-outcome");
    if (step && !touched.has(step)) step.open = false;
    this.thought = null;
  }

  showCall({ id, name, args, args_size: size }) {
    this.endThought();
    // ADK's calls that ask a person are shown as cards, when the reply has ended.
    if (name === "adk_request_confirmation") this.showAsking(args.originalFunctionCall?.id);
    if (/^adk_request_(confirmation|input)$/.test(name)) return;
    const step = clone("tool-step");
    step.dataset.call = id;
    step.querySelector(".tool-name").textContent = name;
    step.querySelector(".tool-args").textContent = readable(args);
    if (size) step.querySelector(".tool-args").after(cutNote(size));
    this.list.append(step);
  }

  // A call that waits for a person.
  showAsking(id) {
    const step = this.#stepOf(id);
    if (!step) return;
    step.dataset.outcome = "asks";
    step.querySelector(".tool-state").textContent = uiString("asks");
    step.querySelector(".tool-outcome").textContent = "";
  }

  showResult({ id, result, error, elapsed_ms: elapsed, size }) {
    const step = this.#stepOf(id);
    if (!step || step.dataset.outcome === "asks") return;
    const state = step.querySelector(".tool-state");
    const failed = error !== undefined;
    const outcome = failed ? error : readable(result);
    step.dataset.outcome = failed ? "failed" : "done";
    state.textContent = failed ? uiString("failed") : uiString("seconds", (elapsed / 1000).toFixed(1));
    const max = Number(document.body.dataset.outcomeMax);
    // split by characters, not by UTF-16 code units
    const characters = outcome.length > max ? [...outcome] : [outcome];
    const fits = characters.length <= max;
    step.querySelector(".tool-outcome").textContent = fits ? outcome : characters.slice(0, max).join("");
    if (!fits) {
      const rest = clone("tool-rest");
      rest.querySelector("pre").textContent = characters.slice(max).join("");
      step.append(rest);
    }
    if (size) step.append(cutNote(size));
  }

  // A node of a workflow that is done.
  showNode({ name, output, size }) {
    this.endThought();
    const step = clone(output === undefined ? "node-step" : "node-output-step");
    step.querySelector(".node-name").textContent = name;
    if (output !== undefined) step.querySelector(".tool-outcome").textContent = readable(output);
    if (size) step.append(cutNote(size));
    this.list.append(step);
  }

  // An agent of several that failed.
  showFailed(name, note) {
    this.endThought();
    const step = clone("failed-step");
    step.querySelector(".failed-name").textContent = name;
    step.querySelector(".failed-note").textContent = note;
    this.list.append(step);
  }

  showFile({ name, version, note }) {
    this.endThought();
    const step = clone("file-step");
    step.querySelector(".file-name").textContent = name;
    step.querySelector(".file-version").textContent = version === undefined ? "" : uiString("version", version);
    step.querySelector(".file-note").textContent = note ?? "";
    this.list.append(step);
  }

  #stepOf(call) {
    return [...this.list.children].findLast((each) => each.dataset.call === call);
  }

  #openThought(step) {
    this.thought = new RenderedBody(step.querySelector(".step-text"));
    step.dataset.outcome = "working";
    step.open = true;
  }
}

// The log has only the beginning of arguments or a result of `size` bytes.
function cutNote(size) {
  const note = clone("cut-note");
  note.textContent = note.textContent.replace("%s", String(Math.floor((size + 500) / 1000)));
  return note;
}

const readable = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 2));
