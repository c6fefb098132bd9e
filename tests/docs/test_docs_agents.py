"""The steps of docs/agents.md, followed from nothing to a streamed reply."""

import re
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.support.client import Client
from tests.support.commands import ROOT
from tests.support.docs import PAGES, blocks
from tests.support.gemini import Call, Gemini, Text
from tests.support.live import LiveServer, Member
from tests.support.talk import Talk

(AGENTS,) = [page for page in PAGES if page.name == "agents.md"]


@pytest.fixture
def after_step_1(tmp_path: Path) -> Path:
    """Return a folder with the files of step 1."""
    subprocess.run(["sh", "-ec", blocks(AGENTS, "sh")[0]], cwd=tmp_path, check=True)
    code = blocks(AGENTS, "python")[0]
    name = re.match(r"# (\S+)\n", code)
    assert name
    (tmp_path / name[1]).write_text(code)
    return tmp_path


@pytest.fixture
def server(after_step_1: Path, gemini: Gemini) -> Iterator[LiveServer]:
    """Do steps 2 and 3: name the folder in the settings file, and start Parley."""
    (setting,) = blocks(AGENTS, "sh")[1:]
    assert setting.strip() == "AGENTS_DIR=my_agents"
    data_dir = after_step_1 / "var"
    data_dir.mkdir()
    live = LiveServer(
        data_dir,
        ENV_FILE=str(after_step_1 / "settings.env"),
        GOOGLE_API_KEY="not-a-key",
        GOOGLE_GEMINI_BASE_URL=gemini.url,
    )
    (after_step_1 / "settings.env").write_text(setting.replace("my_agents", str(after_step_1 / "my_agents")))
    yield live.prepare().start()
    live.kill()


def test_three_steps_lead_to_a_streamed_reply(server: LiveServer, gemini: Gemini) -> None:
    gemini.on(
        "How many words?", [Call("count_words", {"text": "a b c"})], [Text("There are "), Text("three.")]
    )
    alice = server.member("alice")
    page = alice.http.get("/").text
    assert '<option value="word_counter"' in page
    assert "Counts the words of a text." in page
    events = ask(alice, "How many words?", "word_counter")
    assert '{"words": 3}' in events
    assert re.findall(r'^data: \{"text": "(.*)"\}$', events, re.MULTILINE) == [
        "There are ",
        "three.",
    ]
    assert events.rstrip().endswith("data: [DONE]")


def ask(member: Member, query: str, agent: str) -> str:
    headers = {"X-CSRFToken": member.http.cookies["csrftoken"], "Referer": member.url}
    body = {"query": query, "agent": agent}
    answer = member.http.post("/chat/stream", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.text


async def test_the_tool_that_asks_first_runs_after_an_approval(
    write_agents: Callable[[dict[str, str]], Awaitable[None]], as_alice: Client, gemini: Gemini
) -> None:
    (code,) = [block for block in blocks(AGENTS, "python") if "require_confirmation" in block]
    assert len([line for line in code.splitlines() if line and not line.startswith("#")]) <= 10
    await write_agents({"bank.py": code})
    gemini.on("Pay.", [Call("transfer_money", {"amount": 5, "to": "bob"})], [Text("It is sent.")])
    talk = Talk(as_alice)
    (request,) = [event.json() for event in (await talk.ask("Pay.", agent="bank")).named("waiting")]
    answered = await talk.ask(answers=[{"id": request["id"], "decision": "approve"}])
    assert answered.text == "It is sent."
    (returned,) = answered.named("tool.returned")
    assert returned.json()["result"] == {"sent": 5, "to": "bob", "key": request["call"]}


@pytest.mark.any_database
def test_an_agent_written_by_adk_create_is_found(tmp_path: Path) -> None:
    adk = Path(sys.executable).with_name("adk")
    words = [str(adk), "create", "made", "--model", "gemini-2.5-flash", "--api_key", "its-own"]
    folder = tmp_path / "my_agents"
    folder.mkdir()
    subprocess.run(words, cwd=folder, check=True, capture_output=True, timeout=60)
    live = LiveServer(tmp_path, AGENTS_DIR=str(folder))
    script = "from chat.agent.agents import catalog; print(catalog.all_agents()[1])"
    done = live.manage("shell", "--no-imports", "-c", script)
    assert "name='made'" in done.stdout, done.stderr
    assert "available=True" in done.stdout, "its key is in the .env that adk create wrote"
    assert ROOT not in folder.parents


def test_the_table_of_features_names_each_feature_agent() -> None:
    text = AGENTS.read_text()
    named = [
        path for pattern in re.findall(r"`(tests/feature_agents/\S+)`", text) for path in ROOT.glob(pattern)
    ]
    agents = (ROOT / "tests" / "feature_agents").glob("[!_]*.py")
    assert sorted(named) == sorted(agents)
