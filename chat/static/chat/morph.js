// Updates one DOM tree to equal another with few changes: equal nodes are kept, so a selection in them
// survives, and text is appended in place.

// Attributes changed by the user, or by a script for the user: the server's page does not reset them.
const KEPT = new Set(["open", "aria-pressed", "style"]);

// Make the children of `parent`, from index `from` on, equal to those of `next`, which is emptied.
export function morph(parent, next, from = 0) {
  let place = from;
  for (const fresh of [...next.childNodes]) {
    const here = find(parent, place, fresh);
    if (!here) parent.insertBefore(fresh, parent.childNodes[place] ?? null);
    else if (!here.isEqualNode(fresh)) update(here, fresh);
    place += 1;
  }
  while (parent.childNodes.length > place) parent.lastChild.remove();
}

// Return the child to update with `fresh`, moved to `place`: the one with the same id, or else the one at
// `place`, unless that has another id.
function find(parent, place, fresh) {
  const there = parent.childNodes[place];
  if ((there?.id ?? "") === (fresh.id ?? "")) return there && matching(there, fresh);
  const same = fresh.id && [...parent.children].find((child) => child.id === fresh.id);
  if (same) return move(parent, same, there);
  return there?.id ? undefined : there;
}

// Templates have whitespace between elements that scripts insert without it: remove such a text node.
function matching(there, fresh) {
  if (there.nodeName === fresh.nodeName) return there;
  if (fresh.nodeType === Node.TEXT_NODE) return undefined;
  const next = there.nextSibling;
  if (there.nodeType !== Node.TEXT_NODE || next?.nodeName !== fresh.nodeName) return there;
  there.remove();
  return next;
}

function move(parent, node, before) {
  // moveBefore keeps the focus; older browsers lack it
  if (parent.moveBefore) parent.moveBefore(node, before ?? null);
  else parent.insertBefore(node, before ?? null);
  return node;
}

function update(here, fresh) {
  if (here.nodeType === Node.TEXT_NODE && fresh.nodeType === Node.TEXT_NODE) writeText(here, fresh.data);
  else if (here.dataset?.editing) return; // the user's text
  else if (here.dataset?.copied) return; // the answer to a click
  else if (here.nodeName !== fresh.nodeName || here.nodeType !== Node.ELEMENT_NODE) here.replaceWith(fresh);
  else {
    takeAttributes(here, fresh);
    morph(here, fresh);
  }
}

function writeText(here, data) {
  if (data.startsWith(here.data)) here.appendData(data.slice(here.data.length));
  else here.data = data;
}

export function takeAttributes(here, fresh) {
  for (const { name } of [...here.attributes]) {
    const holdsFocus = name === "tabindex" && here === document.activeElement;
    if (!fresh.hasAttribute(name) && !KEPT.has(name) && !holdsFocus) here.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    const isKept = KEPT.has(name) && !here.matches(".rate"); // another tab may have rated the answer
    if (here.getAttribute(name) !== value && !isKept) here.setAttribute(name, value);
  }
}
