"""Comparison of Parley with ``adk api_server``: ``python -m tests.agent.compare [agent …]``.

Both servers serve ``tests/feature_agents``, and are asked the same questions. Each fact in the events of
``api_server`` must be in the reply's ``parts``, on the page and in the stored session. A fact is a text, a
thought, a call, a result, code, a file, an output, a source, a request to the user, or an error that ends the
turn. Facts come from the events alone, so no list has to be kept. Each speaker's texts, thoughts and calls
must also be exactly ADK's, in its order, so that nothing is shown twice.

The command asks each agent with and without streaming. It resumes: a state file lists the comparisons that
passed on this commit. ``tests/agent/test_compare.py`` asks with streaming.
"""

import argparse
import ast
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.support.commands import ROOT
from tests.support.dom import Element, parse
from tests.support.live import LiveServer, Member, free_port
from tests.support.sse_client import SseEvent, terminal_of, text_of

FOLDER = ROOT / "tests" / "feature_agents"
AGENTS = sorted(path.stem for path in FOLDER.glob("[a-z]*.py"))
ROOT_AGENT = "root"  # the name of each agent's root
USER = "user"
START_SECONDS = 60
# Each server makes its own: the ids of calls, and a sign-in's state, which its address repeats.
IDS = {"id", "functionCallId", "interruptId", "state", "authUri"}
# ADK's own calls, which the page shows as a card
REQUESTS = {"adk_request_confirmation", "adk_request_input"}

Json = dict[str, Any]


@dataclass(frozen=True)
class Fact:
    """One thing that a client of ``api_server`` receives. ``value`` is JSON, without ids."""

    kind: str
    author: str
    value: str

    @classmethod
    def of(cls, kind: str, event: Json, value: Any) -> "Fact":
        return cls(kind, event.get("author", ""), json.dumps(_without_ids(value), sort_keys=True))

    @property
    def content(self) -> Any:
        return json.loads(self.value)

    def __str__(self) -> str:
        return f"{self.kind} of {self.author}: {self.value[:200]}"


@dataclass(frozen=True)
class Turn:
    """An answer of Parley, in every place where it can be read."""

    agent: str
    events: list[SseEvent]  # empty without streaming
    run: Json
    message: Json | None
    article: Element  # of the reply, else of the question
    stored: list[Json]  # ADK's events
    state: Json  # the session's own scope

    @property
    def items(self) -> list[Json]:
        found: list[Json] = self.message["parts"]["items"] if self.message else []
        return found

    @property
    def shown(self) -> str:
        """Text of the page's article, with its links' addresses, and each result whole: a part is folded."""
        addresses = [link.get("href") or "" for link in self.article.all("a")]
        results = "".join(each.text for each in self.article.all("pre"))
        return " ".join([_without_source_numbers(self.article), results, *addresses])


# --- the two servers --------------------------------------------------------------------------------


def questions_of(agent: str) -> list[str]:
    """Return the QUESTIONS of an agent's module, without importing it."""
    for node in ast.parse((FOLDER / f"{agent}.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "QUESTIONS":
            found: list[str] = ast.literal_eval(node.value)
            return found
    return ["Go on."]


class ApiServer:
    """``adk api_server`` in a process of its own, with sessions and artifacts in memory."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def ask(self, agent: str, *, streams: bool) -> Iterator[tuple[list[Json], Json]]:
        """Ask the agent's questions in a new session; yield each turn's events, and the state after it."""
        sessions = f"/apps/{agent}/users/{USER}/sessions"
        session = self.http.post(sessions, json={}).json()["id"]
        for question in questions_of(agent):
            body = {
                "appName": agent,
                "userId": USER,
                "sessionId": session,
                "streaming": streams,
                "newMessage": {"role": USER, "parts": [{"text": question}]},
            }
            answer = self.http.post("/run_sse", json=body)
            assert answer.status_code == 200, answer.text
            lines = (line for line in answer.text.split("\n") if line.startswith("data:"))
            events = [json.loads(line.removeprefix("data:")) for line in lines]
            yield events, self.http.get(f"{sessions}/{session}").json()["state"]


@contextmanager
def api_server() -> Iterator[ApiServer]:
    port = free_port()
    command = [sys.executable, "-m", "google.adk.cli", "api_server", "--port", str(port)]
    command += ["--session_service_uri", "memory://", "--artifact_service_uri", "memory://", str(FOLDER)]
    env = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/tmp")}
    with (
        tempfile.TemporaryFile() as log,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http,
    ):
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + START_SECONDS
            while True:
                try:
                    http.get("/health")
                    break
                except httpx.TransportError:
                    assert process.poll() is None and time.monotonic() < deadline, "api_server did not start"
                    time.sleep(0.1)
            yield ApiServer(http)
        finally:
            process.kill()
            process.wait()


class Parley:
    """A real server of Parley on SQLite, with one member."""

    def __init__(self, data_dir: Path, member: Member) -> None:
        self.member = member
        self.database = data_dir / "parley.sqlite3"

    def ask(self, agent: str, *, streams: bool) -> Iterator[Turn]:
        """Ask the agent's questions in a new conversation; yield each answer with all that is kept of it."""
        fields: Json = {"agent": agent}
        for question in questions_of(agent):
            with self.member.ask(question, **fields, stream=streams) as stream:
                assert stream.response.status_code == 200, stream.response.read()
                events = stream.all_events() if streams else []
                started = events[0].json() if streams else json.loads(stream.response.read())
            fields = {"conversation": started["conversation"]}
            yield self._turn(agent, events, started["conversation"], started["run"])

    def _turn(self, agent: str, events: list[SseEvent], conversation: str, run_id: str) -> Turn:
        http = self.member.http
        run = http.get(f"/api/v1/runs/{run_id}").json()
        found = http.get(f"/api/v1/conversations/{conversation}?limit=100").json()["messages"]["items"]
        message = next((each for each in found if each["id"] == run["reply"]), None)
        page = parse(http.get(f"/chat/{conversation}/").text)
        article = page.one("article", id=f"m-{run['reply'] or run['prompt']}")
        key = (run_id.replace("-", ""),)
        with sqlite3.connect(self.database) as database:
            query = "SELECT payload FROM chat_sessionevent WHERE run_id = ? ORDER BY position"
            stored = [json.loads(payload) for (payload,) in database.execute(query, key)]
            (state,) = database.execute("SELECT state_after FROM chat_run WHERE id = ?", key).fetchone()
        return Turn(agent, events, run, message, article, stored, json.loads(state))


@contextmanager
def parley(data_dir: Path) -> Iterator[Parley]:
    server = LiveServer(data_dir, AGENTS_DIR=str(FOLDER)).prepare().start()
    try:
        with server.member("alice") as member:
            yield Parley(data_dir, member)
    finally:
        server.stop()


# --- the facts in ADK's events ----------------------------------------------------------------------


def facts_of(events: Iterable[Json]) -> list[Fact]:
    """Return the facts in the events of one turn, in the form of ``api_server`` or of the stored session."""
    whole = [event for event in events if not event.get("partial") and event.get("author") != USER]
    found = [fact for event in whole for fact in _facts_in(event)]
    answered = {
        part["functionResponse"].get("id")
        for event in whole
        for part in _parts(event)
        if "functionResponse" in part
    }
    for event in whole:
        for part in _parts(event):
            call = part.get("functionCall", {})
            if call.get("id") in (event.get("longRunningToolIds") or []) and call["id"] not in answered:
                found.append(Fact.of("request", event, call["name"]))
    return found + list(_fatal_errors(whole))


def fragments_of(events: Iterable[Json]) -> list[Fact]:
    """Return the texts that arrived in fragments only, because the whole text never came."""
    open_texts: dict[tuple[str, str], str] = {}
    for event in events:
        key = (event.get("author", ""), event.get("branch", ""))
        if event.get("partial"):
            texts = [part["text"] for part in _parts(event) if part.get("text") and not part.get("thought")]
            open_texts[key] = open_texts.get(key, "") + "".join(texts)
        elif _parts(event):
            open_texts.pop(key, None)
    return [Fact.of("text", {"author": author}, text) for (author, _), text in open_texts.items() if text]


def _facts_in(event: Json) -> Iterator[Fact]:
    for part in _parts(event):
        yield from _facts_in_part(event, part)
    for name, version in (event.get("actions", {}).get("artifactDelta") or {}).items():
        yield Fact.of("artifact", event, [name, version])
    if event.get("output") is not None:
        yield Fact.of("output", event, event["output"])
    if event.get("finishReason") == "MAX_TOKENS":
        yield Fact.of("cut off", event, True)
    for chunk in (event.get("groundingMetadata") or {}).get("groundingChunks") or []:
        yield Fact.of("source", event, chunk["web"]["uri"])
    for cited in (event.get("citationMetadata") or {}).get("citations") or []:
        yield Fact.of("source", event, cited["uri"])


def _facts_in_part(event: Json, part: Json) -> Iterator[Fact]:
    match part:
        case {"text": str() as text} if text.strip():
            yield Fact.of("thought" if part.get("thought") else "text", event, text)
        case {"functionCall": call}:
            yield Fact.of("call", event, [call["name"], call.get("args", {})])
        case {"functionResponse": response}:
            yield Fact.of("result", event, [response["name"], response.get("response", {})])
            for inner in response.get("parts") or []:
                yield from _facts_in_part(event, inner)
        case {"executableCode": code}:
            yield Fact.of("code", event, code["code"])
        case {"codeExecutionResult": result}:
            yield Fact.of("outcome", event, [result["outcome"], result.get("output", "")])
        case {"inlineData": file} | {"fileData": file}:
            yield Fact.of("file", event, file.get("displayName") or file["mimeType"])


def _fatal_errors(events: list[Json]) -> Iterator[Fact]:
    """Yield the last error of the turn, unless its branch or the root said something after it."""
    for place, event in enumerate(events):
        if "errorCode" not in event or event.get("content"):
            continue
        branches = (event.get("branch"), None)
        later = [each for each in events[place + 1 :] if each.get("branch") in branches]
        if not any(_parts(each) or "output" in each or "errorCode" in each for each in later):
            yield Fact.of("error", event, event.get("errorMessage", ""))


def _parts(event: Json) -> list[Json]:
    return (event.get("content") or {}).get("parts") or []


def _without_ids(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_ids(each) for key, each in value.items() if key not in IDS}
    return [_without_ids(each) for each in value] if isinstance(value, list) else value


# --- the places where Parley keeps them -------------------------------------------------------------


def in_parts(fact: Fact, turn: Turn) -> bool:
    """Return whether the reply's items, or its run's end, say it."""
    own = _items_of(fact.author, turn)
    match fact.kind, fact.content:
        case ("text" | "thought") as kind, text:
            return text in "".join(item["text"] for item in own if item["type"] == kind)
        case "call" | "result" | "request", _:
            return any(_in_tool(fact, item) for item in own if item["type"] == "tool")
        case "artifact", [name, version]:
            return any((item.get("artifact"), item.get("version")) == (name, version) for item in own)
        case "cut off", _:
            return _finish(turn) in ("max_tokens", None)
        case "error", message:
            return turn.run["status"] == "failed" or _is_said(message, turn.items)
        case _, value:  # code and its outcome, files, outputs, sources
            return _is_said(value, own)


def _items_of(author: str, turn: Turn) -> list[Json]:
    speaker = turn.agent if author == ROOT_AGENT else author
    return [item for item in turn.items if item["agent"] == speaker]


def _in_tool(fact: Fact, item: Json) -> bool:
    """Return whether a tool item of the reply is this call, this result, or this request to the user."""
    match fact.kind, fact.content:
        case "call", [name, args]:
            has_it = _without_ids(item["args"]) == args
        case "result", [name, {"error": error, **more}] if not more:
            has_it = item.get("error") == str(error)
        case "result", [name, response]:  # a shown result also names files, which ADK has outside of it
            shown = _without_ids(item.get("result", {}))
            has_it = all(shown.get(key, ...) == value for key, value in response.items())
        case _, name:
            has_it = not {"result", "error"} & set(item)
    return has_it and bool(item["name"] == name)


def on_page(fact: Fact, turn: Turn) -> bool:
    """Return whether the page says it. Markup may change punctuation, so only letters and digits count."""
    match fact.kind, fact.content:
        case "request", name:
            if turn.article.all(class_="request") and (name in turn.shown or name in REQUESTS):
                return True
            # a sign-in, which nobody can answer
            return bool(turn.article.all("details", data_outcome="unanswered")) and name in turn.shown
        case "call", [name, args] if name in REQUESTS:  # a card, which says the hint of the author only
            call = args.get("originalFunctionCall") or {"name": args.get("message"), "args": {}}
            said = [call["name"], *_strings(call["args"])]
            return bool(turn.article.all(class_="request")) and all(
                _letters(str(each)) in _letters(turn.shown) for each in said
            )
        case "result", [name, _] if _asks(name, turn):  # the card says that it waits
            return True
        case (("cut off" | "error"), message):
            endings = [each.words for each in turn.article.all(class_="ending")]
            return any(endings) or (isinstance(message, str) and _letters(message) in _letters(turn.shown))
        case "result", [name, {"error": error, **more}] if not more:  # without the word "error"
            return all(_letters(each) in _letters(turn.shown) for each in (name, str(error)))
        case "file", content:  # by the name of its file, or as a sentence
            cards = [item for item in turn.items if item["type"] == "file"]
            names = [item["name"] for item in cards if content in (item["name"], item["mime"])]
            return any(_letters(name) in _letters(turn.shown) for name in [*names, content])
        case "artifact", [name, _]:
            return _letters(name.removeprefix("user:")) in _letters(turn.shown)
        case _, content:
            shown = _letters(turn.shown)
            # A call and its result are JSON on the page, in which a line break is the letter n.
            return all(
                _letters(each) in shown or _letters(json.dumps(each)) in shown for each in _strings(content)
            )


def _asks(tool: str, turn: Turn) -> bool:
    return any(tool in step.text for step in turn.article.all("details", data_outcome="asks"))


def in_session(fact: Fact, turn: Turn) -> bool:
    """Return whether the stored session has it, for the model to know and for a replay."""
    if fact.kind == "error":  # a tool's exception is stored as its result
        return turn.run["status"] == "failed" or fact.content in json.dumps(turn.stored)
    return fact in facts_of(turn.stored)


def in_stream(fact: Fact, turn: Turn) -> bool:
    """Return whether a text was streamed, and is in what is left of it after corrections."""
    return not turn.events or fact.kind != "text" or fact.content in text_of(turn.events)


PLACES = {"parts": in_parts, "page": on_page, "session": in_session, "stream": in_stream}


def lost(events: list[Json], turn: Turn) -> Iterator[tuple[Fact, str]]:
    """Yield each fact of ``events`` that a place of Parley lacks, with that place."""
    for fact in facts_of(events):
        yield from ((fact, place) for place, is_there in PLACES.items() if not is_there(fact, turn))
    for fact in fragments_of(events):  # which ADK stores nowhere
        yield from ((fact, place) for place in ("parts", "page", "stream") if not PLACES[place](fact, turn))


def repeated(events: list[Json], turn: Turn) -> Iterator[str]:
    """Yield a line for each speaker whose texts, thoughts or calls are not exactly ADK's, in ADK's order."""
    facts = facts_of(events) + fragments_of(events)
    # A tool's exception ends ADK's turn. In Parley the model receives it, and goes on.
    goes_on = bool(events) and "error" in events[-1]
    for author in {fact.author for fact in facts}:
        own = [fact for fact in facts if fact.author == author]
        items = _items_of(author, turn)
        calls = [fact.content[0] for fact in own if fact.kind == "call"]
        tools = [item["name"] for item in items if item["type"] == "tool" and "language" not in item["args"]]
        if calls != tools:
            yield f"{author} calls {calls}, and not {tools}"
        kinds = ["thought"] if {fact.kind for fact in own} & {"file", "output"} else ["thought", "text"]
        for kind in kinds:
            said = _letters("".join(fact.content for fact in own if fact.kind == kind))
            shown = _letters("".join(item["text"] for item in items if item["type"] == kind))
            if said != shown and not (goes_on and shown.startswith(said)):
                yield f"{author} says {said}, and not {shown}"


def differences(adk: ApiServer, ours: Parley, agent: str, *, streams: bool) -> Iterator[str]:
    """Ask both servers, and yield a line for each difference."""
    turns = zip(adk.ask(agent, streams=streams), ours.ask(agent, streams=streams), strict=True)
    for number, ((events, state), turn) in enumerate(turns, 1):
        for fact, place in lost(events, turn):
            yield f"turn {number}: not in the {place}: {fact}"
        yield from (f"turn {number}: {line}" for line in repeated(events, turn))
        own = {key: value for key, value in state.items() if not key.startswith(("app:", "user:"))}
        if own != turn.state:
            yield f"turn {number}: the state is {turn.state}, not {own}"


def _without_source_numbers(element: Element) -> str:
    """Return the text of an element without the numbers that link its sentences to their sources."""
    if element.matches("sup", {"class_": "source"}):
        return ""
    return "".join(
        child if isinstance(child, str) else _without_source_numbers(child) for child in element.children
    )


def _finish(turn: Turn) -> str | None:
    """Return how the model ended; None without streaming, where no answer says it."""
    return terminal_of(turn.events).json().get("finish") if turn.events else None


def _is_said(value: Any, items: list[Json]) -> bool:
    """Return whether each string and number in ``value`` is part of a string or number in ``items``."""
    said = "\n".join(each for item in items for each in _strings(item))
    return all(each.strip() in said for each in _strings(value))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield key
            yield from _strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from _strings(each)
    else:
        yield value if isinstance(value, str) else json.dumps(value)


def _letters(text: str) -> str:
    return "".join(character for character in text if character.isalnum())


# --- the command ------------------------------------------------------------------------------------


def main(agents: list[str], state: Path) -> int:
    """Compare each agent in each mode that ``state`` does not list, and return the number of differences."""
    state.parent.mkdir(exist_ok=True)
    done = set(state.read_text().splitlines()) if state.exists() else set()
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    count = 0
    with tempfile.TemporaryDirectory() as folder, api_server() as adk, parley(Path(folder)) as ours:
        for agent, streams in [(agent, streams) for agent in agents for streams in (True, False)]:
            mode = "streamed" if streams else "whole"
            key = f"{commit.stdout.strip()} {agent} {mode}"
            if key in done:
                continue
            found = list(differences(adk, ours, agent, streams=streams))
            count += len(found)
            for line in found:
                sys.stdout.write(f"{agent}, {mode}: {line}\n")
            if not found:
                with state.open("a") as file:
                    file.write(key + "\n")
    sys.stdout.write(f"{len(agents)} agents, {count} differences\n")
    return count


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("agents", nargs="*", default=AGENTS)
    parser.add_argument("--state", type=Path, default=Path("var/compare"))
    given = parser.parse_args()
    sys.exit(bool(main(given.agents, given.state)))
