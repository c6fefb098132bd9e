// Marks the words of a moderator's search in the transcript, and shows the last one.

const transcript = /** @type {HTMLElement} */ (document.querySelector(".transcript"));
const words = JSON.parse(transcript.dataset.marked);
const texts = document.createTreeWalker(transcript, NodeFilter.SHOW_TEXT);
const hits = [];
while (texts.nextNode()) {
  const text = /** @type {Text} */ (texts.currentNode);
  if (text.parentElement.closest(".bubble, .prose")) hits.push(...words.flatMap((word) => rangesOf(word, text)));
}
CSS.highlights?.set("hits", new Highlight(...hits));
hits.at(-1)?.startContainer.parentElement.scrollIntoView({ block: "center" });

function rangesOf(word, node) {
  const text = [...Array(node.length).keys()].map((index) => folded(node.data[index])).join("");
  const found = [];
  for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + word.length)) {
    const range = new Range();
    range.setStart(node, at);
    range.setEnd(node, at + word.length);
    found.push(range);
  }
  return found;
}

// Return a letter without its accent, in lower case, as the search compares it; still of length 1.
function folded(letter) {
  const plain = letter.normalize("NFD")[0].toLowerCase();
  return plain.length === 1 ? plain : letter;
}
