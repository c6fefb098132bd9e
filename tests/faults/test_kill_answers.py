"""Kills while an approved tool is on its way: it acts at most once, and never silently."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.gemini import Call, Gemini, Hold, Text
from tests.support.live import LiveServer, Member, check_with_oracle, read_to_done
from tests.support.sse_client import SseEvent
from tests.support.waiting import until

ENDS = {"run.completed", "run.expired", "run.failed", "run.stopped"}

AGENT = '''
import asyncio, pathlib
from google.adk.agents import Agent
from google.adk.tools import FunctionTool

HERE = pathlib.Path(__file__).parent

async def reached(point):
    with (HERE / "reached").open("a") as out:
        out.write(point + "\\n")
    while (HERE / f"hold_{point}").exists():
        await asyncio.sleep(0.02)

async def before(callback_context):
    if (HERE / "hold_before").exists():
        await reached("before")

async def transfer_money(amount: int) -> dict:
    """Transfers money."""
    await reached("inside")
    with (HERE / "counter").open("a") as out:
        out.write("sent\\n")
    await reached("after")
    return {"sent": amount}

root_agent = Agent(
    name="bank", model="gemini-2.5-flash", before_agent_callback=before,
    tools=[FunctionTool(transfer_money, require_confirmation=True)],
)
'''


@pytest.fixture
def bank(tmp_path: Path) -> Path:
    folder = tmp_path / "agents" / "bank"
    folder.mkdir(parents=True)
    (folder / "agent.py").write_text(AGENT)
    return folder


def sent(bank: Path) -> int:
    counter = bank / "counter"
    return counter.read_text().count("sent") if counter.exists() else 0


def reached(bank: Path, point: str) -> bool:
    return (bank / "reached").exists() and point in (bank / "reached").read_text().split()


def approve_and_kill(
    server: LiveServer, gemini: Gemini, bank: Path, point: str, end: Callable[[], object]
) -> tuple[Member, list[SseEvent]]:
    """Approve a transfer, end the server when the answering run is at this point, and read on."""
    gemini.on("Pay 5.", [Call("transfer_money", {"amount": 5})], [Text("It is done.")])
    alice = server.member("alice")
    with alice.ask("Pay 5.", agent="bank") as stream:
        asked = stream.all_events()
    (request,) = (event.json() for event in asked if event.name == "waiting")
    (bank / f"hold_{point}").touch()
    answers = [{"id": request["id"], "decision": "approve"}]
    with alice.ask(conversation=asked[0].json()["conversation"], answers=answers) as stream:
        seen = stream.until("run.started")
        until(lambda: reached(bank, point))
        end()
    (bank / f"hold_{point}").unlink()
    server.start()
    read_to_done(alice, seen)
    return alice, seen


@pytest.fixture
def server(tmp_path: Path, bank: Path, gemini: Gemini, live_database: dict[str, str]) -> Iterator[LiveServer]:
    env = {
        "GOOGLE_API_KEY": "not-a-key",
        "GOOGLE_GEMINI_BASE_URL": gemini.url,
        "AGENTS_DIR": str(bank.parent),
        "DRAIN_SECONDS": "0",
    }
    live = LiveServer(tmp_path, None, **env, **live_database).prepare().start()
    yield live
    if live.process:
        live.stop()


def state_of_answer(member: Member, conversation: str) -> str:
    found = member.http.get(f"/api/v1/conversations/{conversation}").json()["messages"]["items"]
    (state,) = {item["state"] for m in found for item in m["parts"]["items"] if item["type"] == "approval"}
    return str(state)


@pytest.mark.parametrize("way", ["kill", "stop"])
def test_a_run_that_has_not_entered_the_tool_begins_again(
    way: str, server: LiveServer, gemini: Gemini, bank: Path
) -> None:
    alice, seen = approve_and_kill(server, gemini, bank, "before", getattr(server, way))
    end = next(event for event in seen if event.name in ENDS)
    assert end.name == "run.completed", end
    assert sent(bank) == 1
    assert state_of_answer(alice, seen[0].json()["conversation"]) == "decided"
    check_with_oracle(server, [seen])


def test_a_second_attempt_that_has_entered_the_tool_is_in_doubt(
    server: LiveServer, gemini: Gemini, bank: Path
) -> None:
    def kill_twice() -> None:
        server.kill()
        (bank / "hold_before").unlink()
        (bank / "hold_inside").touch()
        server.start()
        until(lambda: reached(bank, "inside"))
        server.kill()
        (bank / "hold_before").touch()

    alice, seen = approve_and_kill(server, gemini, bank, "before", kill_twice)
    end = next(event for event in seen if event.name in ENDS)
    assert (end.name, end.json()["code"]) == ("run.expired", "lost"), end
    assert state_of_answer(alice, seen[0].json()["conversation"]) == "in_doubt"
    assert sent(bank) == 0


DESK = """
from google.adk.agents import Agent

clerk = Agent(name="clerk", model="gemini-2.5-flash", description="Knows all.")
root_agent = Agent(name="bank", model="gemini-2.5-flash", sub_agents=[clerk])
"""


@pytest.mark.parametrize("way", ["kill", "stop"])
def test_a_run_that_only_transferred_begins_again(
    way: str, server: LiveServer, gemini: Gemini, bank: Path
) -> None:
    (bank / "agent.py").write_text(DESK)
    server.stop()
    server.start()
    gemini.on_agent("bank", [Call("transfer_to_agent", {"agent_name": "clerk"})])
    gemini.on_agent("clerk", [Text("One "), Hold()], [Text("It is done.")])
    alice = server.member("alice")
    with alice.ask("Help me.", agent="bank") as stream:
        seen = stream.until(lambda seen: seen[-1].is_text)
        getattr(server, way)()
    gemini.release()
    server.start()
    read_to_done(alice, seen)
    assert next(event for event in seen if event.name in ENDS).name == "run.completed"
    check_with_oracle(server, [seen])


@pytest.mark.parametrize("way", ["kill", "stop"])
@pytest.mark.parametrize("point", ["inside", "after"])
def test_a_run_that_has_entered_the_tool_is_in_doubt(
    way: str, point: str, server: LiveServer, gemini: Gemini, bank: Path
) -> None:
    alice, seen = approve_and_kill(server, gemini, bank, point, getattr(server, way))
    end = next(event for event in seen if event.name in ENDS)
    assert (end.name, end.json()["code"]) == ("run.expired", "lost"), end
    assert sent(bank) == (point == "after")
    conversation = seen[0].json()["conversation"]
    assert state_of_answer(alice, conversation) == "in_doubt"
    body = {"prompt": seen[0].json()["prompt"]}
    again = alice.http.post("/chat/stream", json=body, headers=alice.headers())
    assert (again.status_code, again.json()["error"]["code"]) == (409, "answered")
    assert again.json()["error"]["run"] == seen[0].run
    gemini.on("What now?", [Text("I do not know whether it was sent.")])
    with alice.ask("What now?", conversation=conversation) as stream:
        assert stream.all_events()[-2].name == "run.completed"
    parts = [part for content in gemini.requests[-1]["contents"] for part in content["parts"]]
    assert "interrupted" in str([part for part in parts if "functionResponse" in part])
    assert sent(bank) == (point == "after")
    check_with_oracle(server, [seen])
