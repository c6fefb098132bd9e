// The server's words and markup: scripts say nothing of their own.

const words = document.getElementById("words").content;

export const word = (name) => words.querySelector(`[data-word="${name}"]`).textContent;

// The nodes of a sentence, where it holds a link.
export const sentence = (name) => words.querySelector(`[data-word="${name}"]`).cloneNode(true).childNodes;

// A fresh element of the <template> with this id.
export const build = (template) => document.getElementById(template).content.firstElementChild.cloneNode(true);
