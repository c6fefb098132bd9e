// Files of messages as cards, as templates/chat/_file_card.html shows them.

import { clone, uiString } from "./ui_strings.js";

// The largest box of a picture, in CSS pixels: chat/pages/file_cards.py has the same one.
const SHOWN_WIDTH = 384;
const SHOWN_HEIGHT = 320;
const PICTURE = /^image\/(png|jpeg|gif|webp|avif)$/;

// Return a list of files. Each has the fields of an event `file`.
export function fileList(files) {
  const list = clone("file-list");
  list.replaceChildren(...files.map(fileCard));
  return list;
}

export function fileCard({ file, name, mime, size, width, height, version }) {
  const card = clone(`${kindOf(mime)}-card`);
  Object.assign(card.dataset, { file, name, mime, size, width: width || "", height: height || "" });
  /** @type {NodeListOf<HTMLAnchorElement>} */
  const links = card.querySelectorAll("a");
  for (const link of links) link.href = addressOf(file, name);
  card.querySelector(".file-name").textContent = name;
  const picture = card.querySelector("img");
  if (picture) return showPicture(card, picture, { file, name, width, height });
  card.querySelector(".file-size").textContent = sizeText(size);
  if (version) card.querySelector(".file-version").textContent = uiString("version", version);
  const player = card.querySelector("audio, video");
  if (player) Object.assign(player, { src: addressOf(file, name), ariaLabel: name });
  return card;
}

function showPicture(card, picture, { file, name, width, height }) {
  picture.alt = name;
  if (width && height) {
    const scale = Math.min(1, SHOWN_WIDTH / width, SHOWN_HEIGHT / height);
    picture.width = Math.max(1, Math.floor(width * scale + 0.5));
    picture.height = Math.max(1, Math.floor(height * scale + 0.5));
  }
  picture.src = `/thumbnails/${file}`;
  return card;
}

function kindOf(mime) {
  if (PICTURE.test(mime)) return "picture";
  if (/^(audio|video)\//.test(mime)) return mime.split("/")[0];
  return mime === "application/pdf" ? "pdf" : "other";
}

// As urllib.parse.quote writes it.
const addressOf = (file, name) =>
  `/files/${file}/${encodeURIComponent(name).replace(/[!'()*]/g, (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`)}`;

// Return a number of bytes as people read it, as chat/templatetags/file_sizes.py does.
export function sizeText(size) {
  if (size < 1024 * 1024) return uiString("kilobytes", Math.ceil(size / 1024));
  return uiString("megabytes", Math.floor((size / 1024 / 1024) * 10 + 0.5) / 10);
}

export const isPicture = (mime) => PICTURE.test(mime);

// Show a sentence in place of a picture that is gone. One without a thumbnail is loaded whole.
export function startFileCards() {
  const replace = (picture) => {
    const card = picture.closest(".picture-card");
    if (!card) return;
    const whole = card.querySelector("a").href;
    if (picture.src === whole) card.dataset.missing = "true";
    else picture.src = whole;
  };
  // A load's error does not bubble.
  document.addEventListener("error", ({ target }) => target instanceof HTMLImageElement && replace(target), { capture: true });
  for (const picture of document.images) if (picture.complete && !picture.naturalWidth) replace(picture);
}
