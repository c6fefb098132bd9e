"""``kill -9`` during a reply: no shown text is lost, and every run ends."""

import random
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from django.conf import settings

from tests.support.campaigns import trials
from tests.support.gemini import Call, Gemini, Pause, Text
from tests.support.live import LiveServer, check_with_oracle, read_to_done
from tests.support.sse_client import SseEvent, text_of
from tests.support.waiting import until

KILLS = trials(20, sample=8)
REPLY = [Text(f"word{n} ") for n in range(60)]


@pytest.fixture
def server(tmp_path: Path, gemini: Gemini, live_database: dict[str, str]) -> Iterator[LiveServer]:
    live = LiveServer(
        tmp_path,
        None,
        GOOGLE_API_KEY="not-a-key",
        GOOGLE_GEMINI_BASE_URL=gemini.url,
        LIMITS="off",
        **live_database,
    ).prepare()
    live.start()
    yield live
    gemini.release()
    if live.process:
        live.stop()


@pytest.mark.timeout(600)
def test_kills_at_random_moments_of_a_reply_lose_nothing(server: LiveServer, gemini: Gemini) -> None:
    # After each kill, the server restarts and the reader resumes from its last id.
    alice = server.member("alice")
    generator = random.Random(20)
    transcripts = []
    for n in range(KILLS):
        question = f"kill {n}"
        tool: list[list[Text | Call]] = [[Text("Looking. "), Call("calculate", {"expression": "6*7"})]]
        slow: list[Text | Pause] = [step for word in REPLY for step in (word, Pause(0.01))]
        gemini.on(question, *(tool if n % 4 == 3 else []), slow)
        seen: list[SseEvent] = []
        killer = threading.Timer(generator.uniform(0.0, 0.9), server.kill)
        killer.start()
        try:
            with alice.ask(question, client_id=f"00000000-0000-4000-8000-{n:012d}") as stream:
                seen = stream.all_events(may_break=True)
        except httpx.TransportError:
            pass  # killed before the first byte
        killer.join()
        server.start()
        if not seen:  # no response arrived, so the client sends the same key again
            with alice.ask(question, client_id=f"00000000-0000-4000-8000-{n:012d}") as stream:
                seen = stream.all_events()
        read_to_done(alice, seen)
        transcripts.append(seen)
    check_with_oracle(server, transcripts)
    ends = [next(e.name for e in seen if e.name in ENDS) for seen in transcripts]
    others = [e.data for seen in transcripts for e in seen if e.name in ("run.failed", "run.stopped")]
    assert not others  # as data: it says why
    assert "run.completed" in ends
    for seen, end in zip(transcripts, ends, strict=True):
        if end == "run.completed":
            assert text_of(seen).endswith("word59 ")
        assert [e.seq for e in seen] == list(range(1, len(seen) + 1))


ENDS = {"run.completed", "run.expired", "run.failed", "run.stopped"}


def test_a_restarted_run_begins_with_replace(server: LiveServer, gemini: Gemini) -> None:
    alice = server.member("alice")
    gemini.on("slow", [Text("half"), Pause(60), Text(" never")], [Text("whole")])
    with alice.ask("slow") as stream:
        seen = stream.until("text")
    server.kill()
    server.start()
    read_to_done(alice, seen)
    assert [e.name for e in seen] == ["run.started", "", "replace", "", "run.completed", ""]
    assert (seen[2].json()["text"], seen[2].json()["attempt"]) == ("", 2)
    assert text_of(seen) == "whole"
    check_with_oracle(server, [seen])


def test_what_a_restarted_run_had_shown_is_an_earlier_version(server: LiveServer, gemini: Gemini) -> None:
    alice = server.member("alice")
    gemini.on("slow", [Text("half"), Pause(60), Text(" never")], [Text("whole")])
    with alice.ask("slow") as stream:
        seen = stream.until("text")
    server.kill()
    server.start()
    read_to_done(alice, seen)
    path = f"/api/v1/conversations/{seen[0].json()['conversation']}"
    question, reply = alice.http.get(path).json()["messages"]["items"]
    assert (reply["text"], reply["siblings"]) == ("whole", [seen[2].json()["kept"], reply["id"]])
    assert question["run"] == reply["run"] == seen[0].run
    alice.http.patch(path, json={"head": reply["siblings"][0]}, headers=alice.headers())
    earlier = alice.http.get(path).json()["messages"]["items"][1]
    assert earlier["text"] == "half"
    run = alice.http.get(f"/api/v1/runs/{earlier['run']}").json()
    assert (run["status"], run["code"], run["reply"]) == ("expired", "lost", earlier["id"])
    # the model is told what its reader saw
    gemini.on("and then?", [Text("Then.")])
    with alice.ask("and then?", conversation=seen[0].json()["conversation"]) as stream:
        stream.all_events()
    parts = [part["text"] for content in gemini.requests[-1]["contents"] for part in content["parts"]]
    assert parts[:2] == ["slow", "half"]
    check_with_oracle(server, [seen])


def test_a_run_that_called_a_tool_is_not_restarted(server: LiveServer, gemini: Gemini) -> None:
    alice = server.member("alice")
    gemini.on("act", [Text("I act. "), Call("calculate", {"expression": "6*7"})], [Pause(60), Text("never")])
    with alice.ask("act") as stream:
        seen = stream.until("tool.returned")
    server.kill()
    server.start()
    read_to_done(alice, seen)
    end = next(event for event in seen if event.name in ENDS)
    assert end.name == "run.expired"
    assert end.json()["code"] == "lost"
    assert end.json()["retryable"] is True
    assert text_of(seen) == "I act. "
    assert gemini.calls_for("act") == 2
    gemini.on("and then?", [Text("It was 42.")])
    with alice.ask("and then?", conversation=seen[0].json()["conversation"]) as stream:
        stream.all_events()
    parts = [part for content in gemini.requests[-1]["contents"] for part in content["parts"]]
    assert [part for part in parts if "functionResponse" in part], "the model did not get the tool's result"


@pytest.mark.parametrize("second", [[Text("half"), Pause(60)], [Pause(60), Text("half")]])
def test_a_run_fails_after_its_second_crash(
    server: LiveServer, gemini: Gemini, second: list[Text | Pause]
) -> None:
    alice = server.member("alice")
    gemini.on("poison", [Text("half"), Pause(60)], second)
    with alice.ask("poison") as stream:
        seen = stream.until("text")
    server.kill()
    server.start()
    until(lambda: gemini.calls_for("poison") == 2)
    server.kill()
    server.start()
    read_to_done(alice, seen)
    end = next(event for event in seen if event.name in ENDS)
    assert (end.name, end.json()["code"]) == ("run.failed", "crashed")
    check_with_oracle(server, [seen])


@pytest.mark.skipif(not settings.ON_SQLITE, reason="only SQLite has a file")
def test_the_database_file_is_intact_after_a_kill(server: LiveServer, gemini: Gemini) -> None:
    alice = server.member("alice")
    gemini.on("slow", [step for word in REPLY for step in (word, Pause(0.01))])
    with alice.ask("slow") as stream:
        stream.until("run.started")
    server.kill()
    with sqlite3.connect(server.data_dir / "parley.sqlite3") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
