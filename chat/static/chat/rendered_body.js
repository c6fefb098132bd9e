// The body of a text that the server renders while it grows: a reply or a thought.

import { addCodeButtons } from "./copying.js";
import { morph } from "./morph.js";
import { parseFragment } from "./trusted_html.js";
import { clone } from "./ui_strings.js";

export class RenderedBody {
  // A reply has more than one element if there are files between its blocks.
  constructor(...elements) {
    this.elements = elements;
    this.starts = elements.map((_element, n) => countBlocks(elements.slice(0, n))); // the number of blocks before each
    this.open = "";
  }

  // The element that is being written.
  get last() {
    return this.elements.at(-1);
  }

  get blocks() {
    return this.elements.flatMap((element) => [...element.children]);
  }

  // Keep the blocks before `from`; add the `closed` ones, which are final; `open` is still being written, and
  // is sent from its `keep`-th character on (docs/streaming.md).
  write({ from, closed, keep, open }) {
    this.open = this.open.slice(0, keep) + open;
    const blocks = addCodeButtons(parseFragment(closed.join("") + this.open));
    this.elements.forEach((element, n) => {
      const [start, end] = [this.starts[n], this.starts[n + 1]];
      if (end === undefined) morph(element, blocks, Math.max(0, from - start));
      else if (end > from) morph(element, takeFirst(blocks, end - Math.max(from, start)), Math.max(0, from - start));
    });
  }

  // Show a file after the block that is being written.
  addFile(card) {
    if (this.last.firstElementChild) {
      const next = /** @type {HTMLElement} */ (this.last.cloneNode(false));
      this.last.removeAttribute("aria-busy");
      this.last.after(next);
      this.starts.push(countBlocks(this.elements));
      this.elements.push(next);
    }
    const files = this.last.previousElementSibling;
    if (files?.matches(".files")) files.append(card);
    else {
      const list = clone("file-list");
      list.replaceChildren(card);
      this.last.before(list);
    }
  }

  // Remove all text and files.
  clear() {
    const last = this.last;
    for (const element of this.elements) {
      if (element.previousElementSibling?.matches(".files")) element.previousElementSibling.remove();
      if (element !== last) element.remove();
    }
    last.replaceChildren();
    this.elements = [last];
    this.starts = [0];
  }
}

const countBlocks = (elements) => elements.reduce((sum, element) => sum + element.childElementCount, 0);

function takeFirst(blocks, count) {
  const taken = document.createDocumentFragment();
  while (taken.childNodes.length < count && blocks.firstChild) taken.append(blocks.firstChild);
  return taken;
}
