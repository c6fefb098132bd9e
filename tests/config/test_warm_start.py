"""A ready server has already imported and built everything that the first ask needs."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.client import Client
from tests.support.commands import ROOT
from tests.support.dom import Element, parse
from tests.support.gemini import Call, Gemini, Text
from tests.support.live import LiveServer, Member
from tests.support.other_models import OtherModels
from tests.support.sse_client import text_of
from tests.support.waiting import until

pytestmark = pytest.mark.any_database

# Every Python process runs this first. On a signal it writes the list of imported modules to a file.
SITE = """
import json, os, signal, sys

def write(*_):
    with open(os.environ["MODULES"] + ".new", "w") as file:
        json.dump(sorted(sys.modules), file)
    os.rename(file.name, os.environ["MODULES"])

signal.signal(signal.SIGUSR1, write)
"""

Started = tuple[Member, Callable[[], set[str]], int]


@pytest.fixture
def fresh(tmp_path: Path, gemini: Gemini) -> Iterator[Callable[..., Started]]:
    """Return a function that starts a server without asks, and returns alice, its imports and its pid."""
    processes = []

    def start(**env: str) -> Started:
        (tmp_path / "site").mkdir()
        (tmp_path / "site" / "sitecustomize.py").write_text(SITE)
        modules = tmp_path / "modules"
        env = {**env, "GOOGLE_GEMINI_BASE_URL": gemini.url}
        (tmp_path / "data").mkdir()
        server = LiveServer(tmp_path / "data", None, **env).prepare().start()
        alice = server.member("alice")
        assert server.stop() == 0
        process = subprocess.Popen(
            [sys.executable, "manage.py", "serve"],
            cwd=ROOT,
            env={**server.env, "PYTHONPATH": str(tmp_path / "site"), "MODULES": str(modules)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        processes.append(process)
        assert process.stdout
        assert " serves " in process.stdout.readline()
        assert httpx.get(f"{server.url}/readyz").status_code == 200, "it says so when it is ready"

        def imported() -> set[str]:
            modules.unlink(missing_ok=True)
            process.send_signal(signal.SIGUSR1)
            until(modules.exists, 20)
            return set(json.loads(modules.read_text()))

        return alice, imported, process.pid

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def ask(alice: Member, query: str, **fields: Any) -> str:
    with alice.ask(query, **fields) as stream:
        assert stream.response.status_code == 200
        if fields.get("stream") is False:
            return str(json.loads(stream.response.read())["message"]["text"])
        return text_of(stream.all_events())


def test_the_first_asks_of_a_server_import_nothing(fresh: Callable[..., Started], gemini: Gemini) -> None:
    """Earlier, the first ask imported 429 modules."""
    gemini.on("with a tool", [Call("calculate", {"expression": "1+1"})], [Text("two")])
    alice, imported, _ = fresh(GOOGLE_API_KEY="x")
    before = imported()
    assert ask(alice, "hello") == "You said: hello"
    assert ask(alice, "with a tool") == "two"
    assert ask(alice, "whole", stream=False)
    assert alice.http.get("/").status_code == 200
    assert imported() - before == set()


def test_the_demo_models_first_ask_imports_nothing(fresh: Callable[..., Started]) -> None:
    alice, imported, _ = fresh(DEMO_DELAY_SECONDS="0")
    before = imported()
    assert "In Lagos" in ask(alice, "What time is it in Lagos?")
    assert imported() - before == set()


def test_the_first_ask_of_a_users_own_agent_imports_nothing(fresh: Callable[..., Started]) -> None:
    alice, imported, _ = fresh(GOOGLE_API_KEY="x", AGENTS_DIR=str(ROOT / "tests" / "sample_agents"))
    before = imported()
    for agent in ("story_pipeline", "research_parallel", "weather_time"):
        assert ask(alice, "hello", agent=agent)
    assert imported() - before == set()


@pytest.mark.parametrize("model", ["gpt-4o", "openai/any-model"])
def test_the_first_ask_of_another_provider_imports_no_client(
    fresh: Callable[..., Started], model: str
) -> None:
    """Earlier, litellm imported 365 modules during it, which blocked all members for 2 s."""
    server = OtherModels()
    alice, imported, _ = fresh(CHAT_MODEL=model, CHAT_API_BASE=f"{server.url}/v1", CHAT_API_KEY="x")
    before = imported()
    assert ask(alice, "hello") == "You said: hello"
    server.close()
    assert len(imported() - before) < 10


def process_cells(owner: Member) -> list[Element]:
    page = parse(owner.http.get("/admin/agents/").text)
    return page.one("table", class_="agents-processes").one("tbody").all("td")


def test_the_first_ask_after_a_reload_imports_no_client(
    fresh: Callable[..., Started], tmp_path: Path
) -> None:
    server, agent = OtherModels(), tmp_path / "agents" / "other.py"
    agent.parent.mkdir()
    alice, imported, _ = fresh(AGENTS_DIR=str(agent.parent))
    owner = "from accounts.models import User; User.objects.update(is_staff=True, is_superuser=True)"
    assert LiveServer(tmp_path / "data").manage("shell", "-c", owner).returncode == 0
    agent.write_text(
        "from google.adk.agents import Agent\n"
        "from google.adk.models.lite_llm import LiteLlm\n"
        f"model = LiteLlm(model='openai/x', api_base='{server.url}/v1', api_key='x')\n"
        "root_agent = Agent(name='other', model=model)\n"
    )
    alice.http.post("/admin/agents/", headers={**alice.headers(), "Referer": alice.url})
    until(lambda: "Loaded" in [cell.words for cell in process_cells(alice)])
    before = imported()
    assert ask(alice, "hello", agent="other") == "You said: hello"
    server.close()
    assert len(imported() - before) < 10


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads CPU time from /proc")
def test_the_first_ask_costs_about_as_much_as_the_third(fresh: Callable[..., Started]) -> None:
    """CPU time of the first and third ask: earlier 300 and 35 ms, now 60 and 35 ms."""
    alice, _, pid = fresh(GOOGLE_API_KEY="x")

    def cost(query: str) -> float:
        before = cpu_seconds(pid)
        ask(alice, query)
        return cpu_seconds(pid) - before

    first, _second, third = (cost(query) for query in ("one", "two", "three"))
    assert first < 3 * third + 0.1


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def test_readyz_says_that_the_server_starts(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from chat.agent.agents import warming
    from chat.runs.supervisor import supervisor
    from config.asgi import application

    warm = threading.Event()
    monkeypatch.setattr(warming, "warm_up", lambda: warm.wait(20))
    probe = Client(application)
    try:
        for _ in range(3):
            answer = await probe.get("/readyz")
            assert (answer.status, answer.json()["error"]["code"]) == (503, "unavailable")
            assert int(answer.headers["retry-after"]) >= 1
            assert (await probe.get("/healthz")).status == 200
        page = asyncio.ensure_future(probe.get("/accounts/login/"))
        await asyncio.sleep(0.1)
        assert not page.done(), "everybody else waits"
    finally:
        warm.set()
    assert (await page).status == 200
    assert (await probe.get("/readyz")).status == 200
    await supervisor.shut_down()
