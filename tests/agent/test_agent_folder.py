"""AGENTS_DIR: how agents are found there, how broken ones are reported, and how agents are isolated."""

import asyncio
import json
import logging
import os
import subprocess
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

NO_MODULE = (
    "It needs the module {}, which is not there. If it is no file of yours, add the package {} to "
    "requirements.txt in AGENTS_DIR, and start again."
)
BROKEN = {
    "raises": (
        'raise RuntimeError("the password is hunter2, in /etc/passwd")',
        "Its code does not load (RuntimeError).",
    ),
    "exits": ("import sys; sys.exit(3)", "Its code ends the process instead of loading."),
    "interrupts": ("raise KeyboardInterrupt", "Its code ends the process instead of loading."),
    "misspelt": ("def f(:", "There is a syntax error in its code."),
    "needy": (
        "import pandas_of_nobody.frames",
        NO_MODULE.format("pandas_of_nobody", "pandas-of-nobody"),
    ),
    "clouded": (
        "from google.cloud import of_nobody",
        NO_MODULE.format("google.cloud.of_nobody", "google-cloud-of-nobody"),
    ),
    "advises": (
        """
        try:
            import pandas_of_nobody
        except ImportError:
            raise SystemExit("pip install pandas-of-nobody")
        """,
        NO_MODULE.format("pandas_of_nobody", "pandas-of-nobody"),
    ),
    "outdated": ("from httpx import Nobody", "It imports Nobody from httpx, which has no such name."),
    "lost": ("from lost.nowhere import x", "It needs the module lost.nowhere, which is not there."),
    "empty": ("", "It has neither an app nor a root_agent."),
    "wrong": ('root_agent = "me"', "Its root_agent is not an agent."),
    "unknown_model": (
        'from google.adk.agents import Agent\nroot_agent = Agent(name="x", model="nobodys-model")',
        "ADK knows no model nobodys-model.",
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


def test_a_package_that_requirements_txt_names_already_is_not_advised_again(agent_files: Write) -> None:
    agent_files(
        {"needy/agent.py": "import pandas_of_nobody", "requirements.txt": "Pandas_of.nobody>=2  # mine"}
    )
    assert reason("needy") == (
        "It needs the package pandas-of-nobody, which requirements.txt in AGENTS_DIR names and which is not "
        "installed. “make set-up” installs it, or says why it cannot."
    )


# An agent that needs a package of EXTRAS, and what its reason names.
NEED_EXTRAS = {
    "a2a_class": ("from google.adk.agents.remote_a2a_agent import RemoteA2aAgent", "a2a-sdk", "a2a"),
    "anthropic_class": ("from google.adk.models.anthropic_llm import AnthropicLlm", "anthropic", "anthropic"),
    "litellm_class": ("from google.adk.models.lite_llm import LiteLlm", "litellm", "litellm"),
    "litellm_class_of_the_package": ("from google.adk.models import LiteLlm", "litellm", "litellm"),
    "mcp_class": ("from google.adk.tools.mcp_tool.mcp_toolset import McpToolset", "mcp", "mcp"),
    "mcp_class_of_the_package": ("from google.adk.tools.mcp_tool import McpToolset", "mcp", "mcp"),
    "openai_class": ("from google.adk.integrations.openai import OpenAILlm", "openai", "openai"),
    "itself": ("import openai", "openai", "openai"),
    "gemma": ("ollama/gemma3:4b", "litellm", "litellm"),
    "model_of_anthropic": ("claude-of-nobody", "anthropic", "anthropic"),
    "model_of_litellm": ("openai/of-nobody", "litellm", "litellm"),
    "model_of_openai": ("gpt-of-nobody", "openai", "openai"),
}
LIST_WITHOUT_EXTRAS = """
import json, sys
sys.modules.update(dict.fromkeys(["a2a", "anthropic", "litellm", "mcp", "openai"]))
import django
django.setup()
from chat.agent.agents import catalog
print(json.dumps({agent.name: str(agent.reason) for agent in catalog.all_agents()[1:]}))
"""


def test_an_agent_without_a_package_of_extras_names_the_extra(tmp_path: Path) -> None:
    """In another process, because imports are cached, and ADK forgets models that it could not import."""
    for name, (needed, _package, _extra) in NEED_EXTRAS.items():
        (tmp_path / name).mkdir()
        code = f'from google.adk.agents import Agent\nroot_agent = Agent(name="x", model="{needed}")'
        (tmp_path / name / "agent.py").write_text(needed if " " in needed else code)
    env = {**os.environ, "AGENTS_DIR": str(tmp_path), "DJANGO_SETTINGS_MODULE": "tests.settings"}
    command = [sys.executable, "-c", LIST_WITHOUT_EXTRAS]
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    named = {
        name: f"the package {package}: start with EXTRAS={extra}."
        for name, (_, package, extra) in NEED_EXTRAS.items()
    }
    listed = {name: reason.partition(" needs ")[2] for name, reason in json.loads(done.stdout).items()}
    assert listed == named
    assert "Its model openai/of-nobody needs" in json.loads(done.stdout)["model_of_litellm"]


def test_a_broken_agent_keeps_its_exception_for_the_owner(agent_files: Write) -> None:
    agent_files(
        {
            "raises/agent.py": """
                def connect():
                    raise RuntimeError("no route to the warehouse")

                connect()
            """,
            "1st/agent.py": AGENT,
            "sound/agent.py": AGENT,
        }
    )
    catalog.all_agents()
    agents = {agent.name: agent for agent in catalog.folder_agents()}
    error = agents["raises"].error
    assert error is not None
    assert (error.kind, error.place) == ("RuntimeError", "raises/agent.py:3 in connect")
    assert "no route to the warehouse" in error.message
    assert "raises/agent.py" in error.traceback
    assert agents["1st"].error is None, "no code ran"
    assert agents["sound"].error is None


async def test_a_server_with_only_broken_agents_answers(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    await write_agents({f"{name}.py": code for name, (code, _why) in BROKEN.items() if name != "endless"})
    items = (await as_alice.get("/api/v1/agents")).json()["items"]
    assert [item["available"] for item in items] == [True] + [False] * (len(BROKEN) - 1)
    for item in items[1:]:
        assert (item["live"], item["live_reason"]) == (False, item["reason"])
    assert (await Talk(as_alice).ask("Hello")).text == "You said: Hello"
    refused = await as_alice.post("/chat/stream", {"query": "Hello", "agent": "exits"})
    assert (refused.status, refused.json()["error"]["code"]) == (422, "unknown_agent")


def test_the_log_names_the_line_of_a_broken_agent(
    agent_files: Write, caplog: pytest.LogCaptureFixture
) -> None:
    agent_files({"bank/agent.py": "a = 1\ndef f(:\n", "desk/agent.py": "import json\njson.loads(1)\n"})
    catalog.all_agents()
    logged = " ".join(record.getMessage() for record in caplog.records)
    assert "There is a syntax error in its code. At bank/agent.py:2" in logged
    assert "At desk/agent.py:2" in logged


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
            "keyed/.env": "GOOGLE_GENAI_USE_VERTEXAI=0\nGOOGLE_API_KEY=its-own\nGOOGLE_GEMINI_BASE_URL=http://own",
            "keyless/agent.py": AGENT,
        }
    )
    assert others()["keyed"].available
    assert not others()["keyless"].available
    agent: Any = catalog.runner_of("keyed").agent
    assert agent.model.client_kwargs["api_key"] == "its-own"
    assert agent.model.client_kwargs["http_options"].base_url == "http://own"
    assert os.environ.get("GOOGLE_API_KEY") != "its-own"


def test_parleys_key_goes_to_no_address_of_an_agent(agent_files: Write, settings: Any) -> None:
    settings.GOOGLE_API_KEY = "parleys"
    agent_files({"keyed/agent.py": AGENT, "keyed/.env": "GOOGLE_GEMINI_BASE_URL=http://own"})
    agent: Any = catalog.runner_of("keyed").agent
    assert agent.model.client_kwargs["api_key"] == "parleys"
    assert agent.model.client_kwargs["http_options"].base_url is None


# --- isolation ------------------------------------------------------------------------------------

TAKEN = ["chat", "config", "accounts", "tests", "django", "json", "requests_nobody_has", "asyncio", "sys"]


def test_an_agent_with_the_name_of_another_module_is_refused_by_name(agent_files: Write) -> None:
    path, known = list(sys.path), {name: sys.modules.get(name) for name in TAKEN}
    agent_files({f"{name}/agent.py": AGENT for name in TAKEN} | {"calendar.py": AGENT})
    free = {name for name, agent in others().items() if agent.available}
    assert free == {"requests_nobody_has"}
    assert reason("chat") == "Python, Parley or a package has a module chat: rename the one in AGENTS_DIR."
    assert reason("calendar") and "calendar" in str(reason("calendar"))
    assert sys.path[: len(path) - 1] == path[: len(path) - 1], "AGENTS_DIR is at the end"
    assert {name: sys.modules.get(name) for name in TAKEN if name not in free} == {
        name: module for name, module in known.items() if name not in free
    }


def test_a_file_beside_the_agents_shadows_nothing(agent_files: Write) -> None:
    agent_files(
        {
            "json.py": "raise RuntimeError",
            "config/__init__.py": "raise RuntimeError",
            "sound.py": f"import json, config.settings\njson.dumps([])\n{textwrap.dedent(AGENT)}",
        }
    )
    assert others()["sound"].available


@pytest.mark.parametrize(
    "code", ["from config import MINE", "import config.mine", "import config\nconfig.MINE"]
)
def test_a_file_whose_name_is_taken_is_named_in_the_reason(agent_files: Write, code: str) -> None:
    agent_files({"config/__init__.py": "MINE = 1", "config/mine.py": "", "importer.py": code})
    assert reason("importer") == (
        "Python, Parley or a package has a module config: rename the one in AGENTS_DIR."
    )


def test_agents_import_themselves_each_other_and_what_they_share(agent_files: Write) -> None:
    agent_files(
        {
            "mine/__init__.py": "",
            "mine/data/words.txt": "from a file",
            "mine/tools/__init__.py": "",
            "mine/tools/words.py": "def late():\n    import mine.tools.more as more\n    return more.WHO",
            "mine/tools/more.py": 'WHO = "more"',
            "mine/agent.py": """
                from importlib import resources

                import mine.tools.words
                from _shared.util import shout
                from mine.tools import words
                from google.adk.agents import Agent
                from .tools.words import late

                assert mine.tools.words is words
                text = resources.files("mine").joinpath("data/words.txt").read_text()
                root_agent = Agent(name="someone", model="gemini-2.5-flash", description=shout(late()) + text)
            """,
            "neighbour.py": """
                from google.adk.agents import Agent
                from mine.agent import root_agent as other

                root_agent = Agent(name="n", model="gemini-2.5-flash", description=other.description)
            """,
            "_shared/util.py": "def shout(text):\n    return text.upper()",
        }
    )
    assert set(others()) == {"mine", "neighbour"}
    assert others()["mine"].description == others()["neighbour"].description == "MOREfrom a file"


def test_nest_asyncio_does_not_reach_the_loop_of_all_members(
    agent_files: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lets a tool run the running loop again, and Parley's would hang."""
    (tmp_path / "packages").mkdir()
    patch = (
        "import asyncio\ndef apply(loop=None):\n    asyncio.get_event_loop()\n    asyncio.run = 'patched'\n"
    )
    (tmp_path / "packages" / "nest_asyncio.py").write_text(patch)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    agent_files({"nested.py": f"import nest_asyncio\nnest_asyncio.apply()\n{textwrap.dedent(AGENT)}"})
    before = asyncio.run
    assert others()["nested"].available
    assert asyncio.run is before
    monkeypatch.delitem(sys.modules, "nest_asyncio")


def test_code_at_the_top_of_a_module_has_an_event_loop(agent_files: Write) -> None:
    agent_files(
        {
            "looped.py": f"""
                import asyncio

                lock = asyncio.Lock()
                own = asyncio.new_event_loop()
                own.close()
                assert asyncio.get_event_loop().run_until_complete(asyncio.sleep(0, "done")) == "done"
                assert asyncio.run(asyncio.sleep(0, "done")) == "done"
                {textwrap.indent(textwrap.dedent(AGENT), " " * 16).lstrip()}
            """
        }
    )
    assert others()["looped"].available


def test_a_folder_of_agents_says_where_they_have_to_be(agent_files: Write) -> None:
    agent_files(
        {
            "team_a/weather/agent.py": AGENT,
            "team_a/_shared/agent.py": AGENT,
            "team_a/news/root_agent.yaml": "name: news",
            "data/library/__init__.py": "",
        }
    )
    assert set(others()) == {"team_a"}
    assert reason("team_a") == (
        "It is a folder of agents (news, weather). Move them up, or set AGENTS_DIR to it."
    )


def test_a_changed_agent_is_imported_afresh(agent_files: Write) -> None:
    agent_files({"fresh/__init__.py": "", "fresh/words.py": 'WHO = "old"', "fresh/agent.py": DESCRIBED})
    assert others()["fresh"].description == "old"
    agent_files({"fresh/words.py": 'WHO = "brand new"'})
    assert others()["fresh"].description == "brand new"


DESCRIBED = """
    from google.adk.agents import Agent
    from fresh.words import WHO

    root_agent = Agent(name="someone", model="gemini-2.5-flash", description=WHO)
"""

CHATTY = """
    import os, subprocess, sys
    from google.adk.agents import Agent
    from google.adk.models import BaseLlm, LlmResponse
    from google.genai import types

    def say(when):
        print(f"printed {when}")
        sys.stdout.write(f"written {when}\\n")
        os.write(1, f"bytes {when}\\n".encode())
        subprocess.run(["echo", f"process {when}"], check=True)

    class Model(BaseLlm):
        async def generate_content_async(self, request, stream=False):
            say("in a run")
            yield LlmResponse(content=types.Content(role="model", parts=[types.Part(text="Done.")]))

    say("at import")
    root_agent = Agent(name="someone", model=Model(model="own"))
"""
SAID = [
    f"{how} {when}"
    for how in ("printed", "written", "bytes", "process")
    for when in ("at import", "in a run")
]


def test_an_agents_output_goes_to_the_servers_stderr(tmp_path: Path) -> None:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "chatty.py").write_text(textwrap.dedent(CHATTY))
    live = LiveServer(tmp_path, AGENTS_DIR=str(tmp_path / "agents")).prepare()
    with (tmp_path / "stdout").open("wb") as stdout:
        live.start(stdout)
    try:
        with live.member("alice") as alice, alice.ask("Hello", agent="chatty") as stream:
            assert "run.completed" in [event.name for event in stream.all_events()]
    finally:
        live.stop()
    assert [line for line in SAID if line not in live.output()] == []
    assert (tmp_path / "stdout").read_text().startswith("Parley ")
    assert [line for line in SAID if line in (tmp_path / "stdout").read_text()] == []


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


def test_an_agent_sees_its_own_variables_while_it_is_loaded(
    agent_files: Write, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.GOOGLE_API_KEY = ""
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)
    monkeypatch.setenv("OF_THE_OWNER", "stays")
    code = """
        import os
        from google.adk.agents import Agent

        names = ("URL", "OF_THE_OWNER", "GOOGLE_API_KEY", "GOOGLE_CLOUD_PROJECT", "PYTHONPATH")
        seen = " ".join(os.environ.get(name, "-") for name in names)
        root_agent = Agent(name="someone", model="gemini-2.5-flash", description=seen)
    """
    account = "GOOGLE_API_KEY=key\nGOOGLE_CLOUD_PROJECT=project\nPYTHONPATH=/tmp\n"
    agent_files(
        {
            "one/agent.py": code,
            "one/.env": f"BASE=http://one\nURL=${{BASE}}/api\nOF_THE_OWNER=x\n{account}",
            "two/agent.py": code,
            "two/.env": f"BASE=http://two\nURL=${{BASE}}/api\n{account}",
        }
    )
    before = os.environ.get("PYTHONPATH", "-")
    assert others()["one"].description == f"http://one/api stays key project {before}"
    assert others()["two"].description == f"http://two/api stays key project {before}"
    assert os.environ["URL"] == "http://one/api", "the first value stays"
    assert "GOOGLE_API_KEY" not in os.environ and "GOOGLE_CLOUD_PROJECT" not in os.environ
    differing = {agent.name: agent.differing for agent in catalog.folder_agents()}
    assert differing == {"one": ("OF_THE_OWNER", "PYTHONPATH"), "two": ("BASE", "PYTHONPATH", "URL")}


def test_an_agent_without_an_env_file_uses_the_nearest_one_above(agent_files: Write, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("FROM_ABOVE=yes\n")
    agent_files({"deep/agent.py": needs("FROM_ABOVE")})
    assert others()["deep"].available


def test_an_unreadable_env_file_breaks_only_its_agent(agent_files: Write) -> None:
    folder = agent_files({"torn/agent.py": AGENT, "null/agent.py": AGENT, "sound.py": AGENT})
    (folder / "torn" / ".env").write_bytes(b"\xff\xfe")
    (folder / "null" / ".env").write_bytes(b"X=a\x00b")
    assert reason("torn") == reason("null") == "Its .env cannot be read."
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
