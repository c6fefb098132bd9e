"""AGENTS_DIR: how agents are found there, how broken ones are reported, and how agents are isolated."""

import logging
import os
import sys
import textwrap
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from chat.agent.agents import catalog
from chat.agent.agents.catalog import AgentInfo
from tests.support.client import Client
from tests.support.commands import ROOT
from tests.support.gemini import Gemini
from tests.support.live import LiveServer
from tests.support.talk import Talk

pytestmark = pytest.mark.any_database

AGENT = """
    from google.adk.agents import Agent

    root_agent = Agent(name="someone", model="gemini-2.5-flash", description="Answers.")
"""

Write = Callable[[dict[str, str]], Path]
WriteAsync = Callable[[dict[str, str]], Awaitable[None]]


def others() -> dict[str, AgentInfo]:
    """Return the agents other than the built-in one, by name."""
    return {agent.name: agent for agent in catalog.all_agents()[1:]}


def reason(name: str) -> str | None:
    assert not others()[name].available
    return others()[name].reason


# --- broken agents --------------------------------------------------------------------------------

BROKEN = {
    "raises": (
        'raise RuntimeError("the password is hunter2, in /etc/passwd")',
        "Its code does not load (RuntimeError).",
    ),
    "exits": ("import sys; sys.exit(3)", "Its code ends the process instead of loading."),
    "interrupts": ("raise KeyboardInterrupt", "Its code ends the process instead of loading."),
    "misspelt": ("def f(:", "There is a syntax error in its code."),
    "needy": ("import pandas_of_nobody", "It needs the module pandas_of_nobody, which is not there."),
    "lost": ("from lost.nowhere import x", "It needs the module lost.nowhere, which is not there."),
    "empty": ("", "It has neither an app nor a root_agent."),
    "wrong": ('root_agent = "me"', "Its root_agent is not an agent."),
    "unknown_model": (
        'from google.adk.agents import Agent\nroot_agent = Agent(name="x", model="nobodys-model")',
        "Its code does not load (ValueError).",
    ),
    "misnamed": (
        'from google.adk.agents import Agent\nroot_agent = Agent(name="no name")',
        "Its code does not load (ValidationError).",
    ),
    "binary": ("\x00", "There is a syntax error in its code."),
    "endless": ("import time\nwhile True: time.sleep(0.05)", "It did not load within 1 s."),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_agent_is_listed_with_its_reason(
    agent_files: Write, name: str, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    code, why = BROKEN[name]
    settings.AGENT_LOAD_SECONDS = 1 if name == "endless" else 20
    folder = agent_files({"sound/agent.py": AGENT, f"{name}/__init__.py": "", f"{name}/agent.py": code})
    assert reason(name) == why
    assert others()["sound"].available
    assert catalog.available_names() == [settings.AGENT_NAME, "sound"]
    (record,) = [each for each in caplog.records if name in each.getMessage()]
    assert record.levelno == logging.WARNING
    if name not in ("empty", "wrong", "endless"):
        assert record.exc_info and record.exc_info[1], "the log has the traceback"
    listed = str(others())
    assert "hunter2" not in listed and str(folder) not in listed


async def test_a_server_with_only_broken_agents_answers(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    await write_agents({f"{name}.py": code for name, (code, _why) in BROKEN.items() if name != "endless"})
    items = (await as_alice.get("/api/v1/agents")).json()["items"]
    assert [item["available"] for item in items] == [True] + [False] * (len(BROKEN) - 1)
    assert (await Talk(as_alice).ask("Hello")).text == "You said: Hello"
    refused = await as_alice.post("/chat/stream", {"query": "Hello", "agent": "exits"})
    assert (refused.status, refused.json()["error"]["code"]) == (422, "unknown_agent")


@pytest.mark.parametrize("name", ["my-agent", "user", "1st", "é", "a b", "<script>x<", "a" * 129])
def test_an_agent_with_a_name_that_adk_refuses_is_broken(agent_files: Write, name: str) -> None:
    agent_files({f"{name}/agent.py": AGENT})
    (agent,) = others().values()
    assert not agent.available
    assert agent.reason and agent.reason.startswith("Its name must be")


def test_an_agent_with_the_built_in_agents_name_is_broken(agent_files: Write, settings: Any) -> None:
    agent_files({"chat_assistant/agent.py": AGENT})
    assert reason("chat_assistant") == "The built-in agent has the same name."
    assert catalog.available_names() == ["chat_assistant"]


def test_two_agents_with_the_same_name_are_broken(agent_files: Write) -> None:
    agent_files({"twin.py": AGENT, "twin/agent.py": AGENT})
    assert reason("twin") == "A folder and a module have this name."


def test_files_and_folders_that_are_no_agents_are_not_listed(agent_files: Write) -> None:
    agent_files(
        {
            "_shared/__init__.py": "raise RuntimeError",
            ".git/agent.py": "raise RuntimeError",
            "__pycache__/x.py": "raise RuntimeError",
            "_helper.py": "raise RuntimeError",
            "data/notes.txt": "",
            "README.md": "",
        }
    )
    assert others() == {}


def test_invalid_yaml_and_yaml_that_calls_python_are_broken(agent_files: Write) -> None:
    agent_files(
        {
            "invalid/root_agent.yaml": "name: [",
            "unsafe/root_agent.yaml": "name: x\ninstruction: x\ntools: [{name: os.system}]\n",
        }
    )
    assert reason("invalid") == "Its root_agent.yaml is no YAML."
    assert reason("unsafe") == "Its code does not load (ValueError)."


def test_a_gemini_agent_without_a_key_says_that_it_needs_one(agent_files: Write, settings: Any) -> None:
    settings.GOOGLE_API_KEY = ""
    agent_files(
        {
            "keyless/agent.py": AGENT,
            "by_object.py": """
                from google.adk.agents import Agent
                from google.adk.models import Gemini

                root_agent = Agent(name="x", model=Gemini(model="gemini-2.5-flash"))
            """,
            "below.py": """
                from google.adk.agents import Agent, SequentialAgent

                root_agent = SequentialAgent(name="x", sub_agents=[Agent(name="y")])
            """,
        }
    )
    for name in ("keyless", "by_object", "below"):
        assert reason(name) == "It needs a Gemini key."
    assert others()["keyless"].description == "Answers."


def test_a_key_in_an_agents_env_file_is_for_that_agent_only(agent_files: Write, settings: Any) -> None:
    settings.GOOGLE_API_KEY = ""
    agent_files(
        {
            "keyed/agent.py": AGENT,
            "keyed/.env": "GOOGLE_GENAI_USE_VERTEXAI=0\nGOOGLE_API_KEY=its-own",
            "keyless/agent.py": AGENT,
        }
    )
    assert others()["keyed"].available
    assert not others()["keyless"].available
    agent: Any = catalog.runner_of("keyed").agent
    assert agent.model.client_kwargs["api_key"] == "its-own"
    assert os.environ.get("GOOGLE_API_KEY") != "its-own"


# --- isolation ------------------------------------------------------------------------------------

SHADOWS = ["chat", "config", "accounts", "tests", "django", "json", "asyncio", "allauth", "parley_agents"]


def test_no_agent_shadows_a_module(agent_files: Write) -> None:
    files = {}
    for name in SHADOWS:
        files[f"{name}/__init__.py"] = "from . import agent"
        files[f"{name}/helper.py"] = f'WHO = "{name}"'
        files[f"{name}/agent.py"] = """
            import asyncio, json
            import chat.events
            import django.conf
            from google.adk.agents import Agent
            from . import helper
            from .helper import WHO

            assert json.dumps([]) == "[]"
            root_agent = Agent(name="someone", model="gemini-2.5-flash", description=helper.WHO)
        """
        if name == "chat":
            files["chat/agent.py"] = files["chat/agent.py"].replace(
                "import chat.events", "import chat.helper"
            )
        if name == "django":
            files["django/agent.py"] = files["django/agent.py"].replace("django.conf", "django.helper")
    path, known = list(sys.path), {name: sys.modules.get(name) for name in SHADOWS}
    agent_files(files)
    assert {name: agent.reason for name, agent in others().items()} == dict.fromkeys(SHADOWS)
    assert {agent.description for agent in others().values()} == set(SHADOWS)
    assert sys.path == path
    assert {name: sys.modules.get(name) for name in SHADOWS if name != "parley_agents"} == {
        name: module for name, module in known.items() if name != "parley_agents"
    }
    import django.conf

    import chat.events

    assert Path(chat.events.__file__).is_relative_to(ROOT)
    assert django.conf.settings.configured
    assert "helper" not in sys.modules and "chat.helper" not in sys.modules


def test_an_agents_modules_can_be_imported_by_that_agent_only(agent_files: Write) -> None:
    agent_files(
        {
            "mine/__init__.py": "",
            "mine/tools/__init__.py": "",
            "mine/tools/words.py": "def late():\n    import mine.tools.more as more\n    return more.WHO",
            "mine/tools/more.py": 'WHO = "more"',
            "mine/agent.py": """
                import mine.tools.words
                from mine.tools import words
                from mine.tools.words import late
                from google.adk.agents import Agent

                assert mine.tools.words is words
                root_agent = Agent(name="someone", model="gemini-2.5-flash", description=late())
            """,
            "thief.py": "from mine.tools import words",
        }
    )
    assert others()["mine"].description == "more"
    assert reason("thief") == "It needs the module mine, which is not there."
    with pytest.raises(ModuleNotFoundError):
        __import__("mine")


def test_an_agents_prints_go_to_stderr(agent_files: Write, capsys: pytest.CaptureFixture[str]) -> None:
    agent_files({"chatty.py": f'print("here I am")\n{textwrap.dedent(AGENT)}'})
    assert others()["chatty"].available
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "here I am" in printed.err


def needs(variable: str) -> str:
    return f'import os\nos.environ["{variable}"]\n{textwrap.dedent(AGENT)}'


def test_an_agents_env_file_adds_variables_and_overrides_none(
    agent_files: Write, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    monkeypatch.setenv("ALREADY_THERE", "the owner's")
    monkeypatch.delenv("REDIS_URL", raising=False)
    kept = {
        "ALREADY_THERE": "x",
        "SECRET_KEY": "x" * 60,
        "DATABASE_URL": "sqlite:////tmp/x",
        "REDIS_URL": "redis://elsewhere",
        "DJANGO_SETTINGS_MODULE": "x",
        "GOOGLE_GEMINI_BASE_URL": "http://elsewhere",
        "GOOGLE_API_KEY": "x",
        "HTTPS_PROXY": "http://elsewhere",
        "https_proxy": "http://elsewhere",
        "PYTHONPATH": "/tmp",
        "PGPASSWORD": "x",
        "LD_PRELOAD": "x",
    }
    before = {name: os.environ.get(name) for name in kept}
    lines = "\n".join(f"{name}={value}" for name, value in kept.items())
    agent_files(
        {
            "one/.env": f"{lines}\nWEATHER_KEY=from one\n",
            "one/agent.py": needs("WEATHER_KEY"),
            "two/.env": "WEATHER_KEY=from two\n",
            "two/agent.py": AGENT,
            ".env": "SHARED=yes\nSECRET_KEY=x\n",
            "three.py": needs("SHARED"),
        }
    )
    assert {name: a.available for name, a in others().items()} == {"one": True, "two": True, "three": True}
    assert {name: os.environ.get(name) for name in kept} == before
    assert os.environ["WEATHER_KEY"] == "from one"
    agent: Any = catalog.runner_of("one").agent
    assert agent.model.client_kwargs["api_key"] == settings.GOOGLE_API_KEY, "Parley's own key wins"


def test_an_unreadable_env_file_breaks_only_its_agent(agent_files: Write) -> None:
    folder = agent_files({"torn/agent.py": AGENT, "sound.py": AGENT})
    (folder / "torn" / ".env").write_bytes(b"\xff\xfe\x00")
    assert reason("torn") == "Its .env cannot be read."
    assert others()["sound"].available


def test_concurrent_calls_load_the_agents_once(agent_files: Write) -> None:
    counting = 'with open(__file__ + ".count", "a") as file: file.write("x")'
    folder = agent_files({"counted.py": f"{counting}\n{textwrap.dedent(AGENT)}"})
    threads = [threading.Thread(target=catalog.all_agents) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (folder / "counted.py.count").read_text() == "x"


async def test_a_conversation_with_an_unavailable_agent_can_be_read(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    await write_agents({"fleeting.py": AGENT})
    talk = Talk(as_alice)
    await talk.ask("Hello", agent="fleeting")
    await write_agents({"fleeting.py": "raise RuntimeError"})
    assert [message["text"] for message in await talk.messages()] == ["Hello", "You said: Hello"]
    page = (await as_alice.get(f"/chat/{talk.conversation}/")).text
    assert "You said: Hello" in page
    assert "Fleeting is not available at the moment." in page
    said = await talk.ask("Still there?")
    assert (said.end, said.code) == ("run.failed", "unavailable")


# --- the server -----------------------------------------------------------------------------------


def test_an_invalid_agents_dir_ends_the_start_with_a_sentence(tmp_path: Path) -> None:
    for value in (tmp_path / "nowhere", tmp_path / "\x07", __file__):
        done = LiveServer(tmp_path, AGENTS_DIR=str(value)).manage("check")
        assert done.returncode != 0
        assert "AGENTS_DIR must be a folder that can be read" in done.stderr.splitlines()[-1]


def test_agents_dir_cannot_be_the_folder_of_one_agent(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text("")
    done = LiveServer(tmp_path, AGENTS_DIR=str(tmp_path)).manage("check")
    assert "it must be the folder above it" in done.stderr
