// The page on which staff watch a running reply: shows its events as the member's page does.

import { followEvents } from "../event_stream.js";
import { LiveReply } from "../reply.js";

const article = document.getElementById("watched");
document.body.dataset.outcomeMax = article.dataset.outcomeMax; // where the member's page has it
const reply = new LiveReply(article, () => {});

function show(state) {
  for (const each of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("#watch-state [data-when]"))) {
    each.hidden = each.dataset.when !== state;
  }
}

followEvents(article.dataset.events, Number(article.dataset.seq), {
  event: (name, data) => reply.apply(name, data),
  lost: () => show("lost"),
  back: () => show("running"),
  done: () => {
    reply.end();
    show("ended");
    article.querySelector("[aria-busy]").removeAttribute("aria-busy");
    article.querySelector(".reply-waiting").remove();
    document.getElementById("watch-act")?.remove();
  },
  // Signed out, without a grant by now, or switched off: the server's page says which.
  refused: () => location.reload(),
});
