"""AGENTS_DIR: what is found there, what is broken, and what it can never touch."""

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
from chat.agent.agents.catalog import Listed
from tests.client import Client
from tests.commands import ROOT
from tests.gemini import Gemini
from tests.live import LiveServer
from tests.talk import Talk

pytestmark = pytest.mark.any_database

AGENT = """
    from google.adk.agents import Agent

    root_agent = Agent(name="someone", model="gemini-2.5-flash", description="Answers.")
"""

Write = Callable[[dict[str, str]], Path]
WriteAsync = Callable[[dict[str, str]], Awaitable[None]]


def others() -> dict[str, Listed]:
    """The agents beside the built-in one, by name."""
    return {agent.name: agent for agent in catalog.listed()[1:]}


def reason(name: str) -> str | None:
    assert not others()[name].available
    return others()[name].reason


# --- broken ---------------------------------------------------------------------------------------

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
    assert catalog.names() == [settings.AGENT_NAME, "sound"]
    (record,) = [each for each in caplog.records if name in each.getMessage()]
    assert record.levelno == logging.WARNING
    if name not in ("empty", "wrong", "endless"):
        assert record.exc_info and record.exc_info[1], "the log has the traceback"
    told = str(others())
    assert "hunter2" not in told and str(folder) not in told


async def test_a_server_with_nothing_but_broken_agents_answers(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    await write_agents({f"{name}.py": code for name, (code, _why) in BROKEN.items() if name != "endless"})
    items = (await as_alice.get("/api/v1/agents")).json()["items"]
    assert [item["available"] for item in items] == [True] + [False] * (len(BROKEN) - 1)
    assert (await Talk(as_alice).ask("Hello")).text == "You said: Hello"
    refused = await as_alice.post("/chat/stream", {"query": "Hello", "agent": "exits"})
    assert (refused.status, refused.json()["error"]["code"]) == (422, "unknown_agent")


@pytest.mark.parametrize("name", ["my-agent", "user", "1st", "é", "a b", "<script>x<", "a" * 129])
def test_a_name_that_adk_would_refuse_is_broken(agent_files: Write, name: str) -> None:
    agent_files({f"{name}/agent.py": AGENT})
    (agent,) = others().values()
    assert not agent.available
    assert agent.reason and agent.reason.startswith("Its name must be")


def test_the_built_in_agents_name_is_taken(agent_files: Write, settings: Any) -> None:
    agent_files({"chat_assistant/agent.py": AGENT})
    assert reason("chat_assistant") == "The built-in agent has the same name."
    assert catalog.names() == ["chat_assistant"]


def test_two_agents_of_one_name_are_both_not_had(agent_files: Write) -> None:
    agent_files({"twin.py": AGENT, "twin/agent.py": AGENT})
    assert reason("twin") == "A folder and a module have this name."


def test_what_is_no_agent_is_not_listed(agent_files: Write) -> None:
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


def test_yaml_that_is_none_and_yaml_that_reaches_for_python_are_broken(agent_files: Write) -> None:
    agent_files(
        {
            "torn/root_agent.yaml": "name: [",
            "grasping/root_agent.yaml": "name: x\ninstruction: x\ntools: [{name: os.system}]\n",
        }
    )
    assert reason("torn") == "Its root_agent.yaml is no YAML."
    assert reason("grasping") == "Its code does not load (ValueError)."


def test_without_a_key_an_agent_on_gemini_says_that_it_needs_one(agent_files: Write, settings: Any) -> None:
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


def test_a_key_in_an_agents_own_env_is_this_agents_alone(agent_files: Write, settings: Any) -> None:
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


# --- what it can never touch ----------------------------------------------------------------------

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


def test_an_agents_modules_are_found_by_its_own_name_and_by_nobody_elses(agent_files: Write) -> None:
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


def test_what_an_agent_prints_is_not_on_the_servers_stdout(
    agent_files: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    agent_files({"chatty.py": f'print("here I am")\n{textwrap.dedent(AGENT)}'})
    assert others()["chatty"].available
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "here I am" in printed.err


def needs(variable: str) -> str:
    return f'import os\nos.environ["{variable}"]\n{textwrap.dedent(AGENT)}'


def test_an_agents_env_adds_and_never_overrides(
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
    assert all(agent.available for agent in others().values())
    assert {name: os.environ.get(name) for name in kept} == before
    assert os.environ["WEATHER_KEY"] == "from one"
    agent: Any = catalog.runner_of("one").agent
    assert agent.model.client_kwargs["api_key"] == settings.GOOGLE_API_KEY, "Parley's own wins"


def test_an_env_that_cannot_be_read_breaks_its_agent_alone(agent_files: Write) -> None:
    folder = agent_files({"torn/agent.py": AGENT, "sound.py": AGENT})
    (folder / "torn" / ".env").write_bytes(b"\xff\xfe\x00")
    assert reason("torn") == "Its .env cannot be read."
    assert others()["sound"].available


def test_agents_are_loaded_once_however_many_ask(agent_files: Write) -> None:
    counting = 'with open(__file__ + ".count", "a") as file: file.write("x")'
    folder = agent_files({"counted.py": f"{counting}\n{textwrap.dedent(AGENT)}"})
    threads = [threading.Thread(target=catalog.listed) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (folder / "counted.py.count").read_text() == "x"


async def test_a_conversation_whose_agent_is_gone_can_be_read_and_says_so(
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


def test_a_folder_that_is_not_there_ends_the_start_with_a_sentence(tmp_path: Path) -> None:
    for value in (tmp_path / "nowhere", tmp_path / "\x07", __file__):
        done = LiveServer(tmp_path, AGENTS_DIR=str(value)).manage("check")
        assert done.returncode != 0
        assert "AGENTS_DIR must be a folder that can be read" in done.stderr.splitlines()[-1]


def test_one_agents_own_folder_is_not_the_folder_of_agents(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text("")
    done = LiveServer(tmp_path, AGENTS_DIR=str(tmp_path)).manage("check")
    assert "it must be the folder above it" in done.stderr
