// Translated strings and markup from templates/chat/ui_strings.html: scripts contain none of their own.

const strings = document.getElementById("ui-strings").content;
const find = (name) => strings.querySelector(`[data-name="${name}"]`);

export const uiString = (name) => find(name).textContent;

// Return the nodes of a string that contains a link.
export const uiNodes = (name) => find(name).cloneNode(true).childNodes;

// Return a new element from the <template> with this id.
export const clone = (id) => document.getElementById(id).content.firstElementChild.cloneNode(true);
