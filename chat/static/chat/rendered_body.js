// The body of a text that the server renders while it grows: a reply or a thought.

import { addCodeButtons } from "./copying.js";
import { morph } from "./morph.js";
import { parseFragment } from "./trusted_html.js";

export class RenderedBody {
  constructor(element) {
    this.element = element;
    this.open = "";
  }

  // Keep the blocks before `from`; add the `closed` ones, which are final; `open` is still being written, and
  // is sent from its `keep`-th character on (docs/streaming.md).
  write({ from, closed, keep, open }) {
    this.open = this.open.slice(0, keep) + open;
    morph(this.element, addCodeButtons(parseFragment(closed.join("") + this.open)), from);
  }
}
