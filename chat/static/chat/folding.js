// Folding of long questions, which the server's page does too.

import { clone } from "./ui_strings.js";

// Add the button that unfolds `question`, if its text is long.
export function foldIfLong(question, text) {
  const { foldLines, foldCharacters } = document.body.dataset;
  if (text.split("\n").length <= Number(foldLines) && text.length <= Number(foldCharacters)) return;
  question.querySelector(".bubble").after(clone("fold"));
}

// Stay at a question that is unfolded, and return to the one that is folded.
export function startFolding(messages, view) {
  messages.addEventListener("change", ({ target }) => {
    if (!target.closest(".fold")) return;
    view.stay();
    if (!target.checked) target.closest("article").scrollIntoView({ block: "nearest", behavior: "instant" });
  });
  // A folded question has no scroll bar: only the browser scrolls it, to a word that its user has searched for.
  messages.addEventListener("scroll", ({ target }) => unfold(target), { capture: true });

  function unfold(bubble) {
    const box = bubble.nextElementSibling?.querySelector(":scope > input:not(:checked)");
    const hidden = bubble.scrollTop;
    if (!box || !hidden) return;
    box.checked = true;
    view.stay();
    view.moveBy(hidden);
  }
}
