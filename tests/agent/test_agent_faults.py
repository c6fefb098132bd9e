"""Exceptions in agent code: how their runs end, and which users and logs get the message."""

import json
import logging
import textwrap
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Permission

from chat.instruments import logs
from chat.models import Conversation, Run
from tests.conftest import make_user
from tests.support import oracle
from tests.support.client import Client
from tests.support.gemini import Call, Failure, Gemini, Pause, Status, Text
from tests.support.live import LiveServer
from tests.support.staff import open_as_staff
from tests.support.talk import Talk
from tests.support.terminal import chat_piped, peopled

pytestmark = pytest.mark.any_database

WriteAsync = Callable[[dict[str, str]], Awaitable[None]]
SECRET = "secretword7f3a"

HEAD = """
import asyncio, json, threading
import httpx
from google.adk.agents import Agent, BaseAgent, ParallelAgent, SequentialAgent
from google.adk.apps import App
from google.adk.events import Event
from google.adk.models import BaseLlm, LlmResponse
from google.adk.plugins import BasePlugin
from google.adk.workflow import START, Workflow
from google.genai import types

def agent(**fields):
    return Agent(**{"name": "danger", "model": "gemini-2.5-flash", **fields})

def asked(context):
    return context.user_content.parts[0].text
"""


def agent_with(code: str) -> str:
    return HEAD + textwrap.dedent(code)


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    """Return the lines logged during the test, from DEBUG up, as objects of the JSON log."""
    found: list[dict[str, Any]] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(json.loads(self.format(record)))

    handler, root = Collector(), logging.getLogger()
    handler.setFormatter(logs.JsonFormatter())
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield found
    root.setLevel(before)
    root.removeHandler(handler)


# --- the end of the run -----------------------------------------------------------------------------

AGENT_ERRORS = {
    "a state variable that is not there": ("KeyError", 'root_agent = agent(instruction="Greet {name}.")'),
    "a callback that raises KeyError": (
        "KeyError",
        """
        def before(callback_context):
            return callback_context.state["nothing"]
        root_agent = agent(before_agent_callback=before)
        """,
    ),
    "a callback that finds no file": (
        "FileNotFoundError",
        """
        def before(callback_context):
            open("/nowhere/prompt.txt")
        root_agent = agent(before_agent_callback=before)
        """,
    ),
    "a callback that cannot read its JSON": (
        "JSONDecodeError",
        """
        async def after(callback_context, llm_response):
            json.loads("{")
        root_agent = agent(after_model_callback=after)
        """,
    ),
    "a callback whose own client is refused": (
        "ConnectError",
        """
        def before(callback_context, llm_request):
            httpx.get("http://127.0.0.1:9/")
        root_agent = agent(before_model_callback=before)
        """,
    ),
    "a callback that times out by itself": (
        "TimeoutError",
        """
        async def before(callback_context):
            await asyncio.wait_for(asyncio.sleep(60), 0.01)
        root_agent = agent(before_agent_callback=before)
        """,
    ),
    "a plugin": (
        "ZeroDivisionError",
        """
        class Plugin(BasePlugin):
            async def before_run_callback(self, *, invocation_context):
                1 / 0
        app = App(name="danger", root_agent=agent(), plugins=[Plugin(name="plugin")])
        """,
    ),
    "a model of its own": (
        "AttributeError",
        """
        class Model(BaseLlm):
            async def generate_content_async(self, llm_request, stream=False):
                yield llm_request.nothing
        root_agent = agent(model=Model(model="own"))
        """,
    ),
    "two parallel agents": (
        "ValueError",
        """
        def before(callback_context):
            raise ValueError("no")
        root_agent = ParallelAgent(name="both", sub_agents=[
            agent(name="one", before_agent_callback=before), agent(name="two", before_agent_callback=before),
        ])
        """,
    ),
    "a node of a workflow": (
        "ValueError",
        """
        def act(node_input: str) -> str:
            raise ValueError("no")
        root_agent = Workflow(name="danger", edges=[(START, act)])
        """,
    ),
}


@pytest.mark.parametrize("where", AGENT_ERRORS)
async def test_an_exception_in_agent_code_fails_the_run_with_code_agent(
    where: str,
    write_agents: WriteAsync,
    as_alice: Client,
    gemini: Gemini,
    lines: list[dict[str, Any]],
) -> None:
    kind, code = AGENT_ERRORS[where]
    await write_agents({"danger/agent.py": agent_with(code)})
    said = await Talk(as_alice).ask("Act!", agent="danger")
    assert (said.end, said.code, said.data["retryable"]) == ("run.failed", "agent", True)
    assert said.data["detail"] == "This agent failed."
    [line] = [line for line in lines if line["logger"] == "chat.runs.execution"]
    assert (line["agent"], line["run"], line["level"]) == ("danger", said.run, "WARNING")
    assert kind in line["message"]
    assert f"{kind}\n" in f"{line['exception']}\n"
    run = await Run.objects.aget(pk=said.run)
    assert run.failure and run.failure["kind"] == kind
    if "state variable" not in where:  # ADK raised that one
        assert run.failure["place"].startswith("danger/agent.py:")
        assert f"at {run.failure['place']}" in line["message"]
        assert "danger/agent.py" in line["exception"]


MODEL_ERRORS = {
    "an account out of quota": ("rate_limited", Status(429, "RESOURCE_EXHAUSTED")),
    "a model that is overloaded": ("unavailable", Status(503)),
    "a request that is refused": ("model_error", Status(400, "INVALID_ARGUMENT")),
}


@pytest.mark.parametrize("error", MODEL_ERRORS)
async def test_a_model_failure_keeps_the_code_of_the_model(
    error: str, write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    code, answer = MODEL_ERRORS[error]
    await write_agents({"danger/agent.py": agent_with("root_agent = agent()")})
    gemini.on("Act!", [answer])
    said = await Talk(as_alice).ask("Act!", agent="danger")
    assert (said.end, said.code) == ("run.failed", code)
    failure = (await Run.objects.aget(pk=said.run)).failure
    assert failure and str(answer.code) in failure["message"]
    assert (failure["place"], failure["traceback"]) == ("", "")


async def test_an_error_in_parley_fails_the_run_with_code_internal(
    write_agents: WriteAsync,
    as_alice: Client,
    monkeypatch: pytest.MonkeyPatch,
    lines: list[dict[str, Any]],
) -> None:
    from chat.agent.memory.session_service import ConversationSessionService

    async def broken(*_args: Any, **_kwargs: Any) -> None:
        raise RuntimeError("an error of ours")

    await write_agents({"danger/agent.py": agent_with("root_agent = agent()")})
    monkeypatch.setattr(ConversationSessionService, "append_event", broken)
    said = await Talk(as_alice).ask("Act!", agent="danger")
    assert (said.end, said.code) == ("run.failed", "internal")
    [line] = [line for line in lines if line["logger"] == "chat.runs.execution"]
    assert "test_agent_faults.py" in line["exception"]


# --- readers of the message -------------------------------------------------------------------------

# Each raises an exception whose message is the question.
LEAKS = {
    "directly": """
        def before(callback_context):
            raise ValueError(asked(callback_context))
        root_agent = agent(before_agent_callback=before)
    """,
    "as a kind that models raise": """
        def before(callback_context):
            raise OSError(asked(callback_context))
        root_agent = agent(before_agent_callback=before)
    """,
    "by a client of its own model": """
        class Model(BaseLlm):
            async def generate_content_async(self, llm_request, stream=False):
                raise httpx.ConnectError(llm_request.contents[-1].parts[0].text)
                yield
        root_agent = agent(model=Model(model="own"))
    """,
    "with a cause": """
        def before(callback_context):
            try:
                {}[asked(callback_context)]
            except KeyError as error:
                raise RuntimeError("no") from error
        root_agent = agent(before_agent_callback=before)
    """,
    "in a group": """
        async def before(callback_context):
            async with asyncio.TaskGroup() as group:
                for _n in range(2):
                    group.create_task(fail(asked(callback_context)))
        async def fail(text):
            raise ValueError(text)
        root_agent = agent(before_agent_callback=before)
    """,
    "as SystemExit": """
        def before(callback_context):
            raise SystemExit(asked(callback_context))
        root_agent = agent(before_agent_callback=before)
    """,
    "as pydantic's input": """
        def before(callback_context):
            types.Part.model_validate({"text": {asked(callback_context): 1}})
        root_agent = agent(before_agent_callback=before)
    """,
    "in a task that is not awaited": """
        async def before(callback_context):
            asyncio.create_task(fail(asked(callback_context)))
            await asyncio.sleep(0.01)
            raise ValueError("no")
        async def fail(text):
            raise ValueError(text)
        root_agent = agent(before_agent_callback=before)
    """,
    "in a callback of the event loop": """
        async def before(callback_context):
            asyncio.get_running_loop().call_soon(fail, asked(callback_context))
            await asyncio.sleep(0.01)
            raise ValueError("no")
        def fail(text):
            raise SystemExit(text) if len(text) % 2 else ValueError(text)
        root_agent = agent(before_agent_callback=before)
    """,
    "in a plugin": """
        class Plugin(BasePlugin):
            async def on_user_message_callback(self, *, invocation_context, user_message):
                raise ValueError(user_message.parts[0].text)
        app = App(name="danger", root_agent=agent(), plugins=[Plugin(name="plugin")])
    """,
    "in a thread of its own": """
        def before(callback_context):
            thread = threading.Thread(target=fail, args=(asked(callback_context),))
            thread.start()
            thread.join()
            raise ValueError("no")
        def fail(text):
            raise ValueError(text)
        root_agent = agent(before_agent_callback=before)
    """,
    "in a destructor": """
        class Thrown:
            def __del__(self):
                raise ValueError(self.text)
        def before(callback_context):
            thrown = Thrown()
            thrown.text = asked(callback_context)
            del thrown
            raise ValueError("no")
        root_agent = agent(before_agent_callback=before)
    """,
    "in a note": """
        def before(callback_context):
            error = ValueError("no")
            error.add_note(asked(callback_context))
            raise error
        root_agent = agent(before_agent_callback=before)
    """,
}


def test_no_log_line_has_the_message_of_an_agents_exception(tmp_path: Path, gemini: Gemini) -> None:
    folder = tmp_path / "agents"
    folder.mkdir()
    for number, code in enumerate(LEAKS.values()):
        (folder / f"leak_{number}.py").write_text(agent_with(code).replace('"danger"', f'"leak_{number}"'))
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    env: dict[str, Any] = {
        "AGENTS_DIR": str(folder),
        "GOOGLE_API_KEY": "x",
        "GOOGLE_GEMINI_BASE_URL": gemini.url,
    }
    server = LiveServer(data_dir, LOG_LEVEL="DEBUG", **env).prepare().start()
    try:
        with server.member("alice") as alice:
            for number, where in enumerate(LEAKS):
                for query in (f"{SECRET} even", f"{SECRET} odd"):
                    with alice.ask(query, agent=f"leak_{number}") as stream:
                        assert stream.response.status_code == 200, where
                        seen = stream.all_events()
                    failed = any('"This agent failed."' in event.data for event in seen)
                    assert failed == (where != "by a client of its own model"), where
        assert server.stop() == 0
    finally:
        if server.process:
            server.kill()
    written = server.output()
    assert SECRET not in written
    assert written.count("the agent failed (") == 2 * len(LEAKS)
    assert "leak_0.py" in written
    assert "A thread ended by ValueError" in written
    assert "Python ignored ValueError" in written


async def path_of_a_failed_run(write_agents: WriteAsync, client: Client) -> str:
    await write_agents({"danger/agent.py": agent_with(LEAKS["directly"])})
    said = await Talk(client).ask(f"<script>{SECRET}</script> \x1b[2J", agent="danger")
    return f"/admin/chat/run/{said.run}/change/"


async def test_a_moderator_reads_the_exception_on_the_runs_page(
    write_agents: WriteAsync, as_alice: Client, parley: Any, mona: Any
) -> None:
    address = await path_of_a_failed_run(write_agents, as_alice)
    as_mona = await Client(parley, mona).sign_in()
    await open_as_staff(as_mona, (await Conversation.objects.aget()).pk)
    answer = await as_mona.get(address)
    assert f"&lt;script&gt;{SECRET}&lt;/script&gt;" in answer.text
    assert f"<script>{SECRET}" not in answer.text
    assert "ValueError" in answer.text
    assert "danger/agent.py:" in answer.text


async def test_staff_without_a_grant_see_nothing_of_the_exception(
    write_agents: WriteAsync, as_alice: Client, parley: Any, mona: Any
) -> None:
    address = await path_of_a_failed_run(write_agents, as_alice)
    steve = await sync_to_async(make_user)("steve", is_staff=True)
    await steve.user_permissions.aadd(await Permission.objects.aget(codename="view_run"))
    for staff in (steve, mona):
        answer = await (await Client(parley, staff).sign_in()).get(address)
        assert answer.status == 200
        for text in (SECRET, "danger/agent.py", "ValueError"):
            assert text not in answer.text


async def test_the_exception_is_gone_after_the_conversation_is_deleted(
    write_agents: WriteAsync, as_alice: Client, parley: Any, mona: Any
) -> None:
    address = await path_of_a_failed_run(write_agents, as_alice)
    [conversation] = [each async for each in Conversation.objects.all()]
    assert (await as_alice.request("DELETE", f"/api/v1/conversations/{conversation.pk}")).status == 204
    as_mona = await Client(parley, mona).sign_in()
    await open_as_staff(as_mona, conversation.pk)
    answer = await as_mona.get(address)
    assert answer.status == 302
    assert SECRET not in answer.text


async def test_the_member_does_not_get_the_exception_message(
    write_agents: WriteAsync, as_alice: Client
) -> None:
    await write_agents({"danger/agent.py": agent_with(LEAKS["as SystemExit"])})
    said = await Talk(as_alice).ask(SECRET, agent="danger")
    assert SECRET not in json.dumps(said.data)
    stored = (await as_alice.get(f"/api/v1/runs/{said.run}")).text
    assert SECRET not in stored


async def test_the_stored_exception_is_limited_in_size(write_agents: WriteAsync, as_alice: Client) -> None:
    code = """
        def dig(depth):
            return dig(depth - 1) if depth else open("\\0" + "x" * 100_000)
        def before(callback_context):
            try:
                dig(300)
            except ValueError:
                raise ValueError("\\0\\ud800" + "y" * 100_000)
        root_agent = agent(before_agent_callback=before)
    """
    await write_agents({"danger/agent.py": agent_with(code)})
    said = await Talk(as_alice).ask("Act!", agent="danger")
    failure = (await Run.objects.aget(pk=said.run)).failure
    assert failure and len(failure["message"]) == 4_000
    assert len(failure["traceback"]) <= 8_000
    assert failure["message"].startswith("\ufffd\ufffdyyy")


async def test_a_tools_exception_goes_to_the_model_and_fails_no_run(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    code = """
        def act() -> str:
            "Acts."
            raise KeyError("nothing")
        root_agent = agent(tools=[act])
    """
    await write_agents({"danger/agent.py": agent_with(code)})
    gemini.on("Act!", [Call("act")], [Text("It did not work.")])
    said = await Talk(as_alice).ask("Act!", agent="danger")
    assert said.end == "run.completed"
    assert (await Run.objects.aget(pk=said.run)).failure is None


def test_the_terminal_shows_the_sentence_and_not_the_exception(tmp_path: Path, gemini: Gemini) -> None:
    folder = tmp_path / "agents"
    folder.mkdir()
    (folder / "danger.py").write_text(agent_with(LEAKS["as SystemExit"]))
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    here = peopled(data_dir, gemini, AGENTS_DIR=str(folder))
    done = chat_piped(here, f"{SECRET}\n", "--agent", "danger")
    assert done.returncode != 0
    assert "This agent failed." in done.stderr
    assert SECRET not in done.stderr


TRIO = """
    from google.adk.agents import Agent, ParallelAgent

    def one(name):
        return Agent(name=name, model="gemini-2.5-flash")

    root_agent = ParallelAgent(name="trio", sub_agents=[one("first"), one("second"), one("third")])
"""


async def test_of_parallel_agents_the_failing_one_is_named_and_the_others_keep_their_words(
    write_agents: Any, as_alice: Client, gemini: Gemini
) -> None:
    await write_agents({"trio.py": TRIO})
    gemini.on_agent("first", [Text("I begin"), Pause(2), Text(" late.")])
    gemini.on_agent("second", [Pause(0.2), Text("So do I"), Pause(2), Text(" later.")])
    gemini.on_agent("third", [Pause(0.8), Failure(429, "RESOURCE_EXHAUSTED")])
    talk = Talk(as_alice)
    said = await talk.ask("Go", agent="trio")
    assert (said.end, said.code) == ("run.failed", "rate_limited")
    assert said.text == "I begin\n\nSo do I"
    (failed,) = said.named("agent.failed")
    assert failed.json() == {
        "name": "third",
        "code": "rate_limited",
        "detail": "The model is asked too often at the moment. Try again in a little while.",
    }
    items = (await talk.reply())["parts"]["items"]
    assert [(item["type"], item["agent"]) for item in items[:2]] == [("text", "first"), ("text", "second")]
    assert items[-1]["name"] == "third"
    page = (await as_alice.get(f"/chat/{talk.conversation}/")).text
    assert '<bdi class="failed-name">Third</bdi>' in page
    gemini.release()
    await talk.ask("And now?")
    assert "I begin" in json.dumps(gemini.requests[-1]["contents"])
    await oracle.acheck([said.events])


async def test_a_failure_of_the_only_agent_is_not_named_twice(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("Go", [Text("Half"), Failure(503, "UNAVAILABLE")])
    said = await Talk(as_alice).ask("Go")
    assert (said.end, said.code, said.text) == ("run.failed", "unavailable", "Half")
    assert said.named("agent.failed") == []
