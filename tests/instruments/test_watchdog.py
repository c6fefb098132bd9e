"""The watchdog of the event loop: it logs blocking code and its agent while the loop is blocked."""

import asyncio
import json
import logging
import re
import signal
import textwrap
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from chat.agent.turn import turn_taking
from chat.agent.turn.parts import pieces_of
from chat.instruments import logs, metrics, watchdog
from tests.conftest import make_user
from tests.support.client import Client
from tests.support.gemini import Call, Gemini, Pause, Text
from tests.support.live import LiveServer
from tests.support.talk import Talk
from tests.support.waiting import auntil, until

pytestmark = pytest.mark.any_database

WriteAsync = Callable[[dict[str, str]], Awaitable[None]]

HEAD = """
import asyncio, re, subprocess, time
from google.adk.agents import Agent
from google.adk.models import BaseLlm, LlmResponse
from google.genai import types

def agent(**fields):
    return Agent(**{"name": "slow", "model": "gemini-2.5-flash", **fields})
"""

BLOCKING = {
    "an async tool that sleeps": """
        async def act() -> str:
            "Acts."
            time.sleep(4)  # HERE
        root_agent = agent(tools=[act])
    """,
    "a callback that waits for another program": """
        def before(callback_context):
            subprocess.run(["sleep", "4"])  # HERE
        root_agent = agent(before_agent_callback=before)
    """,
    "a model of its own that calculates": """
        class Model(BaseLlm):
            async def generate_content_async(self, llm_request, stream=False):
                end = time.monotonic() + 4
                while time.monotonic() < end:  # HERE
                    pass  # HERE
                yield LlmResponse(content=types.Content(role="model", parts=[types.Part(text="Done.")]))
        root_agent = agent(model=Model(model="own"))
    """,
    "an instruction that keeps the interpreter's lock": """
        def told(context):
            length = 20
            begun = spent = time.thread_time()
            while spent - begun < 1.5:  # HERE
                length += 1
                re.match("(a+)+$", "a" * length + "b")  # HERE
                spent, begun = time.thread_time(), spent  # HERE
            return "Be brief."
        root_agent = agent(instruction=told)
    """,
    "a task that a tool leaves behind": """
        async def later():
            time.sleep(4)  # HERE
        async def act() -> str:
            "Acts."
            await asyncio.create_task(later())
        root_agent = agent(tools=[act])
    """,
}


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    """Return the watchdog's lines, as a JSON log would hold them."""
    found: list[dict[str, Any]] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(json.loads(self.format(record)))

    handler = Keep()
    handler.setFormatter(logs.JsonFormatter())
    logging.getLogger(watchdog.__name__).addHandler(handler)
    yield found
    logging.getLogger(watchdog.__name__).removeHandler(handler)


def counted(agent: str) -> tuple[float, float]:
    """Return how often this agent blocked the loop, and for how many seconds in total."""
    label = (agent,)
    return metrics.loop_stalls.counts.get(label, 0), metrics.loop_stalled_seconds.counts.get(label, 0)


@pytest.mark.parametrize("where", BLOCKING)
async def test_code_that_blocks_the_event_loop_is_named(
    where: str, write_agents: WriteAsync, as_alice: Client, gemini: Gemini, lines: list[dict[str, Any]]
) -> None:
    code = HEAD + textwrap.dedent(BLOCKING[where])
    await write_agents({"slow/agent.py": code})
    gemini.on("Act!", [Call("act")] if "tool" in where else [Text("Done.")], [Text("Done.")])
    often, long = counted("slow")
    said = await Talk(as_alice).ask("Act!", agent="slow")
    assert said.end == "run.completed"
    [line] = lines
    assert (line["agent"], line["run"], line["level"]) == ("slow", said.run, "WARNING")
    place = re.search(r"slow/agent\.py:(\d+)", line["message"])
    assert place
    assert "HERE" in code.splitlines()[int(place[1]) - 1]
    assert "slow/agent.py" in line["exception"]
    assert counted("slow")[0] == often + 1
    assert 1 <= counted("slow")[1] - long < 60


async def test_a_long_stall_is_logged_again(
    write_agents: WriteAsync,
    as_alice: Client,
    gemini: Gemini,
    lines: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watchdog, "REPEAT_SECONDS", 1.0)
    code = HEAD + textwrap.dedent(BLOCKING["an async tool that sleeps"]).replace("sleep(4)", "sleep(6)")
    await write_agents({"slow/agent.py": code})
    gemini.on("Act!", [Call("act")], [Text("Done.")])
    often, _long = counted("slow")
    await Talk(as_alice).ask("Act!", agent="slow")
    assert 2 <= len(lines) <= 5
    assert counted("slow")[0] == often + 1


async def test_an_agent_is_named_even_if_its_code_is_not_on_the_stack(
    write_agents: WriteAsync,
    as_alice: Client,
    gemini: Gemini,
    lines: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = pieces_of

    def slow(content: Any) -> Any:
        time.sleep(0 if lines else 4)
        return real(content)

    await write_agents({"slow/agent.py": f"{HEAD}\nroot_agent = agent()\n"})
    monkeypatch.setattr(turn_taking, "pieces_of", slow)
    gemini.on("Act!", [Text("Done.")])
    said = await Talk(as_alice).ask("Act!", agent="slow")
    [line] = lines
    assert (line["agent"], line["run"]) == ("slow", said.run)
    assert "tests/instruments/test_watchdog.py" in line["message"]
    assert "no code of an agent is on the stack" in line["message"]


async def test_blocking_code_of_no_agent_is_logged_too(parley: Any, lines: list[dict[str, Any]]) -> None:
    often, _long = counted(watchdog.NO_AGENT)
    asyncio.get_running_loop().call_soon(time.sleep, 4)
    await auntil(lambda: lines)
    [line] = lines
    assert line["message"].startswith("Code of no agent has blocked the event loop")
    assert "agent" not in line
    assert counted(watchdog.NO_AGENT)[0] == often + 1


WAITING = {
    "an async tool that awaits": """
        async def act() -> str:
            "Acts."
            await asyncio.sleep(1.8)
        root_agent = agent(tools=[act])
    """,
    "a plain tool, which has a thread": """
        def act() -> str:
            "Acts."
            time.sleep(1.8)
        root_agent = agent(tools=[act])
    """,
    "a blocking call in a thread": """
        async def act() -> str:
            "Acts."
            await asyncio.to_thread(time.sleep, 1.8)
        root_agent = agent(tools=[act])
    """,
}


@pytest.mark.parametrize("where", WAITING)
async def test_waiting_code_is_not_logged(
    where: str, write_agents: WriteAsync, as_alice: Client, gemini: Gemini, lines: list[dict[str, Any]]
) -> None:
    await write_agents({"slow/agent.py": HEAD + textwrap.dedent(WAITING[where])})
    gemini.on("Act!", [Call("act")], [Text("Done.")])
    assert (await Talk(as_alice).ask("Act!", agent="slow")).end == "run.completed"
    assert not lines


async def test_concurrent_answers_do_not_block_the_event_loop(
    as_alice: Client, as_bob: Client, gemini: Gemini, lines: list[dict[str, Any]]
) -> None:
    gemini.on("Tell!", [step for _n in range(40) for step in (Text("word "), Pause(0.02))])
    talks = [Talk(client).ask("Tell!") for client in (as_alice, as_bob) for _n in range(2)]
    assert {said.end for said in await asyncio.gather(*talks)} == {"run.completed"}
    assert not lines


@pytest.mark.parametrize(
    ("what", "woken", "cpu", "late"),
    [
        ("sleeps", [0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0], [0.1] * 7, 1.75),
        ("calculates", [1.0, 1.25, 1.5, 1.75, 2.0], [0.8, 1.0, 1.2, 1.5, 1.7], 1.75),
        ("keeps the lock", [0.5, 3.5], [0.2, 3.1], 3.25),
        ("was suspended", [0.5, 3600.0, 3600.25], [0.2, 0.2, 0.2], 0.75),
        ("was suspended, and calculates", [0.5, 9.5, 9.75, 10.0], [0.4, 0.6, 0.8, 1.0], 1.2),
        ("has little of a busy machine", [0.6, 1.2, 1.8], [0.2, 0.3, 0.4], 1.55),
    ],
)
def test_a_stall_of_the_whole_process_is_not_the_loops(
    what: str, woken: list[float], cpu: list[float], late: float
) -> None:
    seen = watchdog.Lateness(0.0, 0.0)
    for now, used in zip(woken, cpu, strict=True):
        found = seen.at(now, used, beat_at=0.0)
    assert found == pytest.approx(late, abs=0.01), what
    assert seen.at(woken[-1] + 0.25, cpu[-1], beat_at=woken[-1] + 0.2) < 0, "the loop runs again"


def test_a_suspended_server_does_not_log_a_stall(tmp_path: Path, gemini: Gemini) -> None:
    server = LiveServer(tmp_path, GOOGLE_API_KEY="x", GOOGLE_GEMINI_BASE_URL=gemini.url).prepare().start()
    try:
        with server.member("alice") as alice:
            assert server.process
            server.process.send_signal(signal.SIGSTOP)
            time.sleep(3)
            server.process.send_signal(signal.SIGCONT)
            time.sleep(1.5)
            page = alice.http.get("/metrics").text
        assert server.stop() == 0
    finally:
        if server.process:
            server.kill()
    assert "blocked the event loop" not in server.output()
    assert "parley_loop_stalls_total{" not in page


async def test_the_instruments_page_counts_stalls(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini, parley: Any
) -> None:
    from chat.runs.supervisor import supervisor

    await write_agents({"slow/agent.py": HEAD + textwrap.dedent(BLOCKING["an async tool that sleeps"])})
    gemini.on("Act!", [Call("act")], [Text("Done.")])
    await Talk(as_alice).ask("Act!", agent="slow")
    assert supervisor.id
    await supervisor.sampler.take(supervisor.id)
    olga = await sync_to_async(make_user)("olga", is_staff=True, is_superuser=True)
    page = (await (await Client(parley, olga).sign_in()).get("/admin/instruments/")).text
    held_up = page.partition("The event loop held up")[2]
    assert re.search(r"<tr><td>slow</td><td>1</td></tr>", held_up.partition("</table>")[0])
    until(lambda: not metrics.active_runs.value)
