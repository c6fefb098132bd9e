// What the page tells the person, outside the reply: seen (the notice) or read aloud (the announcer).

import { sentence, word } from "./words.js";

const notice = document.getElementById("notice");
const announcer = document.getElementById("announcer");

export const notify = (text) => notice.replaceChildren(text);

export const notifyWord = (name) => notice.replaceChildren(...sentence(name));

export const clearNotice = () => notice.replaceChildren();

export const announce = (name) => (announcer.textContent = word(name));
