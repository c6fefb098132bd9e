// Marks the words of a moderator's search in the transcript, and shows the last one.

// As the search: at the beginning of a word, of less than three letters the whole word; anywhere in scripts without spaces.
const LETTER = /[\p{L}\p{N}]/u;
const UNSPACED = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]/u;

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

function isHit(word, text, at) {
  if (UNSPACED.test(word)) return true;
  if (LETTER.test(text[at - 1] ?? "")) return false;
  return word.length >= 3 || !LETTER.test(text[at + word.length] ?? "");
}

function rangesOf(word, node) {
  const text = [...Array(node.length).keys()].map((index) => folded(node.data[index])).join("");
  const found = [];
  for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + word.length)) {
    if (!isHit(word, text, at)) continue;
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
