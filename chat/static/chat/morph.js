// One tree becomes like another by the fewest changes: equal nodes stay the nodes they are, so a
// selection in them survives, and text grows in its place.

// What the person has changed, or a script for the person, is not the server's to take back.
const KEPT = new Set(["open", "aria-pressed", "style"]);

// Make the children of `parent` from place `from` on those of `next`, which is used up.
export function morph(parent, next, from = 0) {
  let place = from;
  for (const fresh of [...next.childNodes]) {
    const here = find(parent, place, fresh);
    if (!here) parent.insertBefore(fresh, parent.childNodes[place] ?? null);
    else if (!here.isEqualNode(fresh)) become(here, fresh);
    place += 1;
  }
  while (parent.childNodes.length > place) parent.lastChild.remove();
}

// The child that `fresh` is to take over, moved to its place: the one of the same id, or else the one
// that stands there, unless that one has a name and is somebody else.
function find(parent, place, fresh) {
  const there = parent.childNodes[place];
  if ((there?.id ?? "") === (fresh.id ?? "")) return there && alike(there, fresh);
  const same = fresh.id && [...parent.children].find((child) => child.id === fresh.id);
  if (same) return move(parent, same, there);
  return there?.id ? undefined : there;
}

// A template's line ends stand between elements that a script puts side by side.
function alike(there, fresh) {
  if (there.nodeName === fresh.nodeName) return there;
  if (fresh.nodeType === Node.TEXT_NODE) return undefined;
  const next = there.nextSibling;
  if (there.nodeType !== Node.TEXT_NODE || next?.nodeName !== fresh.nodeName) return there;
  there.remove();
  return next;
}

function move(parent, node, before) {
  // moveBefore keeps the focus; older browsers do not have it
  if (parent.moveBefore) parent.moveBefore(node, before ?? null);
  else parent.insertBefore(node, before ?? null);
  return node;
}

function become(here, fresh) {
  if (here.nodeType === Node.TEXT_NODE && fresh.nodeType === Node.TEXT_NODE) write(here, fresh.data);
  else if (here.nodeName !== fresh.nodeName || here.nodeType !== Node.ELEMENT_NODE) here.replaceWith(fresh);
  else {
    takeAttributes(here, fresh);
    morph(here, fresh);
  }
}

function write(here, data) {
  if (data.startsWith(here.data)) here.appendData(data.slice(here.data.length));
  else here.data = data;
}

export function takeAttributes(here, fresh) {
  for (const { name } of [...here.attributes]) {
    if (!fresh.hasAttribute(name) && !KEPT.has(name)) here.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (here.getAttribute(name) !== value && !KEPT.has(name)) here.setAttribute(name, value);
  }
}
