// Translated strings and markup from templates/chat/_ui_strings.html: scripts contain none of their own.

const template = (id) => /** @type {HTMLTemplateElement} */ (document.getElementById(id)).content;
const find = (name) => template("ui-strings").querySelector(`[data-name="${name}"]`);

// Return the text of a string, with `value` in place of its %s.
export const uiString = (name, value) => find(name).textContent.replace("%s", String(value));

// Return the nodes of a string that contains a link.
export const uiNodes = (name) => find(name).cloneNode(true).childNodes;

// Return a new element from the <template> with this id.
export const clone = (id) => /** @type {HTMLElement} */ (template(id).firstElementChild.cloneNode(true));
