"""``kill -9`` while an agent makes files: each file that was shown is stored, and each card opens."""

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.campaigns import trials
from tests.support.files import picture
from tests.support.gemini import Call, Gemini, Pause, Picture, Step, Text
from tests.support.live import LiveServer, Member, check_with_oracle, read_to_done
from tests.support.sse_client import SseEvent

KILLS = trials(20, sample=8)
PAINTER = '''
from google.adk.agents import Agent
from google.genai import types


async def plan(callback_context):
    """Save what each attempt begins with, and what the newest version was."""
    before = await callback_context.load_artifact("plan.txt")
    text = "nothing" if before is None else before.text
    await callback_context.save_artifact("plan.txt", types.Part(text=f"after {text}"))


async def save(name: str, tool_context) -> dict:
    """Saves a large file."""
    part = types.Part.from_bytes(data=name.encode() * 200_000, mime_type="text/plain")
    return {"version": await tool_context.save_artifact(name, part)}


root_agent = Agent(name="painter", model="gemini-2.5-flash", tools=[save], before_agent_callback=plan)
'''


@pytest.fixture
def server(tmp_path: Path, gemini: Gemini, live_database: dict[str, str]) -> Iterator[LiveServer]:
    folder = tmp_path / "agents"
    folder.mkdir()
    (folder / "painter.py").write_text(PAINTER)
    live = LiveServer(
        tmp_path,
        None,
        GOOGLE_API_KEY="not-a-key",
        GOOGLE_GEMINI_BASE_URL=gemini.url,
        LIMITS="off",
        AGENTS_DIR=str(folder),
        **live_database,
    ).prepare()
    live.start()
    yield live
    gemini.release()
    if live.process:
        live.stop()


def files_in(seen: list[SseEvent]) -> list[SseEvent]:
    return [event for event in seen if event.name == "file"]


def check_cards(alice: Member, seen: list[SseEvent], at_least: int = 0) -> None:
    """Open each file that was shown, and each of the stored reply."""
    shown = [event.json() for event in files_in(seen)]
    conversation = seen[0].json()["conversation"]
    found = alice.http.get(f"/api/v1/conversations/{conversation}?limit=100").json()
    items = [item for message in found["messages"]["items"] for item in message["parts"]["items"]]
    for file in shown + [item for item in items if item["type"] == "file"]:
        answer = alice.http.get(f"/files/{file['file']}/x")
        assert (answer.status_code, len(answer.content)) == (200, file["size"])
    assert len(shown) >= at_least


@pytest.mark.timeout(600)
def test_kills_at_random_moments_leave_no_broken_card(server: LiveServer, gemini: Gemini) -> None:
    alice = server.member("alice")
    generator = random.Random(18)
    transcripts, count = [], 0
    for n in range(KILLS):
        question = f"kill {n}"
        drawn: list[Step] = []
        for each in range(6):
            drawn += [Text(f"{each} "), Picture(picture(200 + 10 * n, 200 + each)), Pause(0.05)]
        saved: list[Step] = [Call("save", {"name": f"{n}-{each}.txt"}) for each in range(4)]
        gemini.on(question, *([saved] if n % 2 else []), drawn)
        seen: list[SseEvent] = []
        killer = threading.Timer(generator.uniform(0.1, 0.9), server.kill)
        killer.start()
        fields = {"agent": "painter", "client_id": f"00000000-0000-4000-8000-{n:012d}"}
        try:
            with alice.ask(question, **fields) as stream:
                seen = stream.all_events(may_break=True)
        except httpx.TransportError:
            pass  # killed before the first byte
        killer.join()
        server.start()
        if not seen:  # no response arrived, so the client sends the same key again
            with alice.ask(question, **fields) as stream:
                seen = stream.all_events()
        read_to_done(alice, seen)
        check_cards(alice, seen)
        transcripts.append(seen)
        count += len(files_in(seen))
    assert count >= KILLS
    check_with_oracle(server, transcripts)


def test_a_second_attempt_has_no_artifacts_of_the_first(server: LiveServer, gemini: Gemini) -> None:
    alice = server.member("alice")
    gemini.on("slow", [Text("half"), Pause(60), Text(" never")], [Text("whole")])
    with alice.ask("slow", agent="painter") as stream:
        seen = stream.until("text")
    server.kill()
    server.start()
    read_to_done(alice, seen)
    check_cards(alice, seen, at_least=2)
    assert [event.json()["version"] for event in files_in(seen)] == [0, 1]
    for event in files_in(seen):
        assert alice.http.get(f"/files/{event.json()['file']}/x").content == b"after nothing"
    # a version of the reply that the member goes back to has its own
    path = f"/api/v1/conversations/{seen[0].json()['conversation']}"
    reply = alice.http.get(path).json()["messages"]["items"][1]
    for head, text in zip(reply["siblings"], (b"after after nothing",) * 2, strict=True):
        alice.http.patch(path, json={"head": head}, headers=alice.headers())
        with alice.ask("on", conversation=seen[0].json()["conversation"]) as stream:
            found = files_in(stream.all_events())
        assert alice.http.get(f"/files/{found[0].json()['file']}/x").content == text
