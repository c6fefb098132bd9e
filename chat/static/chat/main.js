// The page comes alive: asking, following and stopping without leaving it.

import { Refused, ask, newKey, stop } from "./asking.js";
import { Composer } from "./composer.js";
import { followElsewhere, lastChange } from "./elsewhere.js";
import { follow } from "./following.js";
import { announce, clearNotice, notify, notifyWord } from "./notices.js";
import { fetchPage, fetchPagePatiently, swap } from "./refreshing.js";
import { LiveReply } from "./reply.js";
import { stickToEnd } from "./scrolling.js";
import { build } from "./words.js";

const messages = document.getElementById("messages");
const toEnd = stickToEnd(document.getElementById("main"));
const composer = new Composer(askQuery);
const owned = new Set(); // the runs that are followed here
let path = location.pathname;

const setState = (state) => (document.body.dataset.state = state);

// --- asking ---------------------------------------------------------------------------------------

async function askQuery(text) {
  const question = build("user-turn");
  question.querySelector(".bubble").textContent = text;
  const place = composer.conversation ? { conversation: composer.conversation } : {};
  if (!composer.conversation && composer.agent) place.agent = composer.agent;
  const started = await send({ query: text, ...place }, composer.keyFor(text), [question]);
  if (!started) return;
  composer.accepted(text);
  if (!composer.conversation) await beginConversation(started);
}

async function askAgain(form) {
  const answered = form.closest("article");
  const isReply = !answered.classList.contains("user");
  answered.hidden = isReply;
  const started = await send({ prompt: form.elements.prompt.value }, newKey(), []);
  if (!started) answered.hidden = false;
  else if (isReply) answered.remove();
}

// Show `turns` and a reply to come, ask, and follow. Resolves to run.started, or null: then the page is
// as before and a notice says why.
async function send(body, key, turns) {
  const live = build("live-turn");
  clearNotice();
  setState("asking");
  messages.append(...turns, live);
  toEnd();
  try {
    const started = await askWithFreshToken(body, key);
    live.dataset.run = started.run;
    followRun(live);
    return started;
  } catch (error) {
    for (const turn of [...turns, live]) turn.remove();
    setState("idle");
    await explain(error);
    return null;
  }
}

// A token is outdated when the person has signed in anew in another tab.
async function askWithFreshToken(body, key) {
  try {
    return await ask(body, key, composer.token);
  } catch (error) {
    if (error.code !== "csrf") throw error;
    composer.token = (await fetchPage()).querySelector("#keys [name=csrfmiddlewaretoken]").value;
    return await ask(body, key, composer.token);
  }
}

async function explain(error) {
  if (!(error instanceof Refused)) return notifyWord("unreachable");
  if (error.status === 401) return notifyWord("signed-out");
  if (error.status === 409) await settle(); // another tab asked: show its answer
  notify(error.message);
}

async function beginConversation({ conversation, title }) {
  composer.conversation = conversation;
  path = `/chat/${conversation}/`;
  history.pushState({}, "", path);
  document.title = document.title.replace(/^.* · /, () => `${title} · `);
  document.getElementById("greeting")?.remove();
  const fresh = await fetchPage().catch(() => null); // the end of the run brings it too
  if (fresh) swap(fresh, ["conversations", "pane-head"]);
}

// --- following ------------------------------------------------------------------------------------

function followRun(article) {
  const reply = new LiveReply(article);
  let lost = false;
  owned.add(article.dataset.run);
  setState("answering");
  announce("answering");
  follow(article.dataset.run, {
    event: (name, data) => reply.take(name, data),
    lost: () => {
      lost = true;
      notifyWord("reconnecting");
    },
    back: () => {
      if (lost) clearNotice();
      lost = false;
    },
    done: async () => {
      await settle();
      announce(messages.querySelector("article:last-of-type .ending") ? "ended" : "complete");
    },
    refused: giveUp,
  });
}

// The server's page in place of what was live; and whatever runs now is followed.
async function settle() {
  let fresh;
  try {
    fresh = await fetchPagePatiently(() => notifyWord("reconnecting"));
  } catch (error) {
    return giveUp(error.status);
  }
  clearNotice();
  swap(fresh);
  setState("idle");
  followActive();
}

function giveUp(status) {
  setState("idle");
  notifyWord(status === 401 ? "signed-out" : "gone");
}

function followActive() {
  const article = messages.querySelector("[data-run]");
  if (article) followRun(article);
}

// --- what happens elsewhere -----------------------------------------------------------------------

// Resolves to whether the page shows it now. While something is asked or followed here, the messages wait:
// its end brings them.
async function catchUp() {
  const address = location.href;
  let fresh;
  try {
    fresh = await fetchPagePatiently(() => {});
  } catch (error) {
    giveUp(error.status);
    return false;
  }
  if (address !== location.href || lastChange(fresh) < lastChange()) return false; // it came too late
  const idle = document.body.dataset.state === "idle";
  document.title = fresh.title;
  swap(fresh, idle ? undefined : ["conversations", "pane-head"]);
  if (idle) followActive();
  return true;
}

async function isSignedIn() {
  try {
    await fetchPagePatiently(() => {}, "/");
    return true;
  } catch (error) {
    giveUp(error.status);
    return false;
  }
}

// --- the page's other forms -----------------------------------------------------------------------

async function stopRun() {
  const run = messages.querySelector("[data-run]")?.dataset.run;
  if (run) await stop(run, composer.token).catch(explain);
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.id === "stop") {
    event.preventDefault();
    stopRun();
  } else if (form.classList.contains("again")) {
    event.preventDefault();
    if (document.body.dataset.state === "idle") askAgain(form);
  }
});

// Back and forward lead to another page; one that was kept in memory is no longer true.
addEventListener("popstate", () => location.pathname !== path && location.reload());
addEventListener("pageshow", (event) => event.persisted && location.reload());

toEnd();
followActive();
followElsewhere({
  conversation: () => composer.conversation,
  owns: (run) => owned.has(run),
  catchUp,
  isSignedIn,
});
