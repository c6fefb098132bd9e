// The page of what waits for an approver: brings its list up to date when that changes elsewhere.

import { morph, takeAttributes } from "./morph.js";
import { Refused, fetchPageRetrying } from "./requests.js";
import { listen } from "./socket.js";

const list = document.getElementById("waiting");

// Resolve to whether the page can still be shown.
async function update() {
  try {
    const fresh = (await fetchPageRetrying(list.dataset.address)).getElementById("waiting");
    takeAttributes(list, fresh);
    morph(list, fresh);
    return true;
  } catch (error) {
    // Signed out, or in no group that decides: a load of the page says which.
    if (error instanceof Refused) location.assign(list.dataset.address);
    return false;
  }
}

listen({
  lastChange: () => Number(list.dataset.lastChange),
  onChange: ({ type, conversation }) => (type === "anew" || (type === "waiting" && !conversation)) && update(),
  onOpen: () => {},
  isSignedIn: update,
  isExpecting: () => false,
});
