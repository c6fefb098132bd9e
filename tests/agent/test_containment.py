"""Agent code that would end the process: at most its own run fails, wherever the code is."""

import signal
import textwrap
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.support import oracle
from tests.support.client import Client
from tests.support.gemini import Call, Gemini, Text
from tests.support.live import LiveServer, Member
from tests.support.sse_client import SseEvent
from tests.support.talk import Said, Talk

pytestmark = pytest.mark.any_database

WriteAsync = Callable[[dict[str, str]], Awaitable[None]]

EXITS = {
    "SystemExit: 2": "raise SystemExit(2)",
    "KeyboardInterrupt": "raise KeyboardInterrupt",
    "CancelledError": "raise asyncio.CancelledError",
}
each_exit = pytest.mark.parametrize("name", EXITS)

# Everything that the agents of these tests need; `boom` runs the statement that raises.
HEAD = '''
import argparse, asyncio
from google.adk.agents import Agent, BaseAgent, ParallelAgent
from google.adk.apps import App
from google.adk.models import BaseLlm, LlmResponse
from google.adk.events import Event
from google.adk.plugins import BasePlugin
from google.adk.tools import AgentTool, BaseTool, FunctionTool
from google.adk.tools.base_toolset import BaseToolset
from google.adk.workflow import START, Workflow
from google.genai import types

def boom(*given, **named):
    {statement}

async def later(*given, **named):
    await asyncio.sleep(0)
    boom()

def look() -> str:
    """Looks."""
    return "seen"

def agent(**fields):
    return Agent(**{{"name": "danger", "model": "gemini-2.5-flash", **fields}})

def said(text):
    return types.Content(role="model", parts=[types.Part(text=text)])
'''


def agent_with(code: str, statement: str) -> str:
    return HEAD.format(statement=statement) + textwrap.dedent(code)


TOOLS = {
    "an async function": """
        async def act() -> str:
            "Acts."
            await later()
        root_agent = agent(tools=[act])
    """,
    "a plain function, in a thread": """
        def act() -> str:
            "Acts."
            boom()
        root_agent = agent(tools=[act])
    """,
    "a tool of its own class": """
        class Act(BaseTool):
            def _get_declaration(self):
                return types.FunctionDeclaration(name="act", description="Acts.")
            async def run_async(self, *, args, tool_context):
                await later()
        root_agent = agent(tools=[Act(name="act", description="Acts.")])
    """,
    "a task that the tool starts": """
        async def act() -> str:
            "Acts."
            return await asyncio.create_task(later())
        root_agent = agent(tools=[act])
    """,
    "one of several tasks in a group": """
        async def act() -> str:
            "Acts."
            return str(await asyncio.gather(asyncio.sleep(0), later()))
        root_agent = agent(tools=[act])
    """,
    "work that the tool gives to a thread": """
        async def act() -> str:
            "Acts."
            return await asyncio.to_thread(boom)
        root_agent = agent(tools=[act])
    """,
    "an agent as a tool": """
        expert = agent(name="act", description="Acts.", before_agent_callback=later)
        root_agent = agent(tools=[AgentTool(expert)])
    """,
    "a tool of an agent as a tool": """
        async def inner() -> str:
            "Acts."
            await later()
        class Model(BaseLlm):
            async def generate_content_async(self, llm_request, stream=False):
                last = llm_request.contents[-1].parts[-1]
                if last.function_response:
                    raise ValueError(last.function_response.response["error"])
                call = types.Part(function_call=types.FunctionCall(name="inner", args={}))
                yield LlmResponse(content=types.Content(role="model", parts=[call]))
        expert = agent(name="act", description="Acts.", model=Model(model="own"), tools=[inner])
        root_agent = agent(tools=[AgentTool(expert)])
    """,
    "the end of a generator that the tool reads": """
        async def numbers():
            try:
                yield 1
            finally:
                boom()
        async def act() -> str:
            "Acts."
            found = numbers()
            await anext(found)
            await found.aclose()
        root_agent = agent(tools=[act])
    """,
}


@each_exit
@pytest.mark.parametrize("where", TOOLS)
async def test_a_tool_that_exits_gives_an_error_result(
    where: str, name: str, write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    await write_agents({"danger/agent.py": agent_with(TOOLS[where], EXITS[name])})
    given = {"request": "Act!"} if "an agent as a tool" in where else {}
    gemini.on("Act!", [Call("act", given)], [Text("It did not work.")])
    said = await Talk(as_alice).ask("Act!", agent="danger")
    assert said.named("tool.returned")[0].json()["error"].removeprefix("ValueError: ") == name
    assert (said.end, said.text) == ("run.completed", "It did not work.")
    await oracle.acheck([said.events])


OTHER_CODE = {
    "before_agent_callback": "root_agent = agent(before_agent_callback=later)",
    "after_agent_callback": "root_agent = agent(after_agent_callback=boom)",
    "before_model_callback": "root_agent = agent(before_model_callback=boom)",
    "after_model_callback": "root_agent = agent(after_model_callback=later)",
    "before_tool_callback": "root_agent = agent(tools=[look], before_tool_callback=later)",
    "after_tool_callback": "root_agent = agent(tools=[look], after_tool_callback=boom)",
    "an instruction": "root_agent = agent(instruction=later)",
    "on_model_error_callback": """
        class Fails(BaseLlm):
            async def generate_content_async(self, llm_request, stream=False):
                raise ValueError("no model")
                yield
        root_agent = agent(model=Fails(model="fails"), on_model_error_callback=boom)
    """,
    "on_tool_error_callback": """
        def look() -> str:
            "Looks."
            raise ValueError("not seen")
        root_agent = agent(tools=[look], on_tool_error_callback=boom)
    """,
    "a plugin, as the question comes": """
        class Plugin(BasePlugin):
            on_user_message_callback = later
        app = App(name="danger", root_agent=agent(), plugins=[Plugin(name="plugin")])
    """,
    "a plugin, at an event": """
        class Plugin(BasePlugin):
            on_event_callback = later
        app = App(name="danger", root_agent=agent(), plugins=[Plugin(name="plugin")])
    """,
    "a plugin, at the end": """
        class Plugin(BasePlugin):
            after_run_callback = later
        app = App(name="danger", root_agent=agent(), plugins=[Plugin(name="plugin")])
    """,
    "a model of its own class": """
        class Model(BaseLlm):
            async def generate_content_async(self, llm_request, stream=False):
                yield LlmResponse(content=said("I be"), partial=True)
                await later()
        root_agent = agent(model=Model(model="own"))
    """,
    "an agent of its own class": """
        class Danger(BaseAgent):
            async def _run_async_impl(self, ctx):
                yield Event(author=self.name, content=said("Well,"))
                boom()
        root_agent = Danger(name="danger")
    """,
    "one of several parallel agents": """
        root_agent = ParallelAgent(name="both", sub_agents=[
            agent(name="calm"), agent(name="wild", before_model_callback=later),
        ])
    """,
    "a sub-agent": """
        class Danger(BaseAgent):
            async def _run_async_impl(self, ctx):
                async for event in self.sub_agents[0].run_async(ctx):
                    yield event
        root_agent = Danger(name="danger", sub_agents=[agent(name="wild", after_model_callback=boom)])
    """,
    "a toolset": """
        class Tools(BaseToolset):
            async def get_tools(self, readonly_context=None):
                await later()
            async def close(self):
                pass
        root_agent = agent(tools=[Tools()])
    """,
    "a node of a workflow": """
        async def act(node_input: str) -> str:
            await later()
        root_agent = Workflow(name="danger", edges=[(START, act)])
    """,
    "a plain node of a workflow": """
        def act(node_input: str) -> str:
            boom()
        root_agent = Workflow(name="danger", edges=[(START, act)])
    """,
}


@each_exit
@pytest.mark.parametrize("where", OTHER_CODE)
async def test_other_agent_code_that_exits_fails_only_its_run(
    where: str,
    name: str,
    write_agents: WriteAsync,
    as_alice: Client,
    as_bob: Client,
    gemini: Gemini,
) -> None:
    await write_agents({"danger/agent.py": agent_with(OTHER_CODE[where], EXITS[name])})
    tools = [Call("look")] if "tool" in where and "toolset" not in where else [Text("Well.")]
    gemini.on("Act!", tools, [Text("Seen.")])
    gemini.on("Hello", [Text("Hello, bob.")])
    said = await Talk(as_alice).ask("Act!", agent="danger")
    assert (said.end, said.code) == ("run.failed", "agent")
    assert (await Talk(as_bob).ask("Hello")).text == "Hello, bob."
    await oracle.acheck([said.events])


BASE_EXCEPTIONS = {
    "Stop: now": """
        class Stop(BaseException):
            pass
        def act():
            raise Stop("now")
    """,
    "GeneratorExit": """
        def act():
            raise GeneratorExit
    """,
    "BaseExceptionGroup: both (2 sub-exceptions)": """
        def act():
            raise BaseExceptionGroup("both", [SystemExit(1), ValueError("no")])
    """,
}


@pytest.mark.parametrize("name", BASE_EXCEPTIONS)
@pytest.mark.parametrize("where", ["before_model_callback", "on_event_callback", "after_agent_callback"])
async def test_any_other_base_exception_fails_its_run(
    name: str, where: str, write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    build = f"root_agent = agent({where}=lambda *given, **named: act())"
    if where == "on_event_callback":
        build = """
            class Plugin(BasePlugin):
                async def on_event_callback(self, **named):
                    act()
            app = App(name="danger", root_agent=agent(), plugins=[Plugin(name="plugin")])
        """
    code = agent_with(BASE_EXCEPTIONS[name], "pass") + textwrap.dedent(build)
    await write_agents({"danger/agent.py": code})
    said = await Talk(as_alice).ask("Act!", agent="danger")
    assert (said.end, said.code) == ("run.failed", "agent")
    await oracle.acheck([said.events])


# --- work that is not awaited -----------------------------------------------------------------------

NOT_AWAITED = {
    "a task that is not awaited": "asyncio.create_task(later())",
    "a callback of the event loop": "asyncio.get_running_loop().call_soon(boom)",
    "a callback after a while": "asyncio.get_running_loop().call_later(0.01, boom)",
    "a callback of a task that ends": "asyncio.create_task(asyncio.sleep(0)).add_done_callback(boom)",
    "a coroutine that a thread gives to the event loop": """
        loop = asyncio.get_running_loop()
        threading.Thread(target=lambda: asyncio.run_coroutine_threadsafe(later(), loop)).start()
    """,
    "a callback that a thread gives to the event loop": """
        loop = asyncio.get_running_loop()
        threading.Thread(target=lambda: loop.call_soon_threadsafe(boom)).start()
    """,
    "a generator that is not closed": """
        async def numbers():
            try:
                yield 1
            finally:
                boom()
        await anext(numbers())
    """,
}


@pytest.mark.parametrize("name", ["SystemExit: 2", "KeyboardInterrupt"])
@pytest.mark.parametrize("where", NOT_AWAITED)
async def test_background_work_of_a_tool_that_exits_does_not_end_the_run(
    where: str, name: str, write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    body = textwrap.indent(textwrap.dedent(NOT_AWAITED[where]).strip(), "    ")
    tail = "    await asyncio.sleep(0.2)\n    return 'done'\n\nroot_agent = agent(tools=[act])\n"
    code = f'import threading\n\nasync def act() -> str:\n    "Acts."\n{body}\n{tail}'
    await write_agents({"danger/agent.py": agent_with(code, EXITS[name])})
    gemini.on("Act!", [Call("act")], [Text("Done.")])
    said = await Talk(as_alice).ask("Act!", agent="danger")
    assert (said.end, said.text) == ("run.completed", "Done.")
    assert said.named("tool.returned")[0].json()["result"] == {"result": "done"}
    await oracle.acheck([said.events])


# --- real cancellations -----------------------------------------------------------------------------

WAITING = """
    ended = []
    async def act() -> str:
        "Acts."
        try:
            await asyncio.gather(asyncio.create_task(asyncio.sleep(3600)), asyncio.sleep(3600))
        finally:
            ended.append("cancelled")
    root_agent = agent(tools=[act])
"""


async def test_a_stop_still_cancels_a_tool_and_its_tasks(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    await write_agents({"danger/agent.py": agent_with(WAITING, "pass")})
    gemini.on("Act!", [Call("act")], [Text("Never.")])
    body = {"query": "Act!", "agent": "danger"}
    async with as_alice.open("POST", "/chat/stream", json_body=body) as exchange:
        events = await exchange.until("tool.called")
        answer = await as_alice.post(f"/chat/runs/{events[0].run}/stop")
        assert answer.json()["status"] == "stopped"
        events += await exchange.all_events()
    assert Said(events).end == "run.stopped"
    await oracle.acheck([events])
    from danger.agent import ended  # type: ignore[import-not-found]

    assert ended == ["cancelled"]


async def test_a_tool_can_cancel_and_time_out_its_own_work(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    code = """
        async def act() -> str:
            "Acts."
            task = asyncio.create_task(asyncio.sleep(3600))
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                pass
            try:
                await asyncio.wait_for(asyncio.sleep(3600), 0.01)
            except TimeoutError:
                return "late"
        root_agent = agent(tools=[act])
    """
    await write_agents({"danger/agent.py": agent_with(code, "pass")})
    gemini.on("Act!", [Call("act")], [Text("Late.")])
    said = await Talk(as_alice).ask("Act!", agent="danger")
    assert said.named("tool.returned")[0].json()["result"] == {"result": "late"}


async def test_a_model_that_exits_while_its_run_is_stopped_is_still_stopped(
    write_agents: WriteAsync, as_alice: Client
) -> None:
    code = """
        class Model(BaseLlm):
            async def generate_content_async(self, llm_request, stream=False):
                try:
                    yield LlmResponse(content=said("I wait"), partial=True)
                    await asyncio.sleep(3600)
                finally:
                    boom()
        root_agent = agent(model=Model(model="own"))
    """
    await write_agents({"danger/agent.py": agent_with(code, EXITS["SystemExit: 2"])})
    body = {"query": "Act!", "agent": "danger"}
    async with as_alice.open("POST", "/chat/stream", json_body=body) as exchange:
        events = await exchange.until("text")
        answer = await as_alice.post(f"/chat/runs/{events[0].run}/stop")
        assert answer.json()["status"] == "stopped"
        events += await exchange.all_events()
    assert (Said(events).end, Said(events).text) == ("run.stopped", "I wait")
    await oracle.acheck([events])


# --- a real server ----------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path, gemini: Gemini) -> Iterator[LiveServer]:
    """Start a server whose agent exits in a tool, by argparse, and as its toolset and plugin are closed."""
    code = """
        class Tools(BaseToolset):
            async def get_tools(self, readonly_context=None):
                return []
            async def close(self):
                await later()
        class Plugin(BasePlugin):
            async def close(self):
                await later()
        async def act() -> str:
            "Acts."
            argparse.ArgumentParser().parse_args(["--unknown"])
        app = App(name="danger", root_agent=agent(tools=[act, Tools()]), plugins=[Plugin(name="plugin")])
    """
    folder = tmp_path / "agents"
    folder.mkdir()
    (folder / "danger.py").write_text(agent_with(code, EXITS["SystemExit: 2"]))
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    found = LiveServer(
        data_dir, AGENTS_DIR=str(folder), GOOGLE_API_KEY="x", GOOGLE_GEMINI_BASE_URL=gemini.url
    )
    yield found.prepare().start()
    gemini.release()
    if found.process:
        found.kill()


def ask(member: Member, query: str, **fields: str) -> list[SseEvent]:
    with member.ask(query, **fields) as stream:
        return stream.all_events()


def test_a_server_survives_agent_exits_and_ends_in_order_at_ctrl_c(
    server: LiveServer, gemini: Gemini
) -> None:
    gemini.on("Act!", [Call("act")], [Text("It did not work.")])
    gemini.on("Hello", [Text("Hello, bob.")])
    with server.member("alice") as alice, server.member("bob") as bob:
        said = Said(ask(alice, "Act!", agent="danger"))
        assert said.named("tool.returned")[0].json()["error"] == "SystemExit: 2"
        assert said.end == "run.completed"
        assert Said(ask(bob, "Hello")).text == "Hello, bob."
    assert server.process
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(60) == 0
    server.process = None
    written = server.output()
    assert "could not end in order" not in written
    assert "An agent could not be closed: SystemExit" in written
