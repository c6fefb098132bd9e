"""Usage and MODEL_CALLS: each model call of a run counts exactly once, whoever makes it."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from chat.models import Run
from tests.support.client import Client
from tests.support.gemini import Call, Gemini, Text
from tests.support.talk import Talk

WriteAgents = Callable[[dict[str, str]], Awaitable[None]]

# Each answer of the fake Gemini reports 12 tokens in and 4 out.
USAGE_OF = {calls: {"input": 12 * calls, "output": 4 * calls, "calls": calls} for calls in range(1, 8)}

TEAM = """
    from google.adk.agents import Agent
    from google.adk.tools import AgentTool

    def look(place: str) -> dict:
        "Looks at a place."
        return {"seen": place}

    expert = Agent(name="expert", model="gemini-2.5-flash", description="Knows.", tools=[look])
    root_agent = Agent(name="team", model="gemini-2.5-flash", tools=[AgentTool(expert%s)])
"""
BOTH = pytest.mark.parametrize(
    "options", ["", ", include_plugins=False"], ids=["with the plugins", "without the plugins"]
)


def counted(run: Run) -> dict[str, int]:
    usage = run.usage()
    return {name: usage[name] for name in ("input", "output", "calls")}


@BOTH
async def test_an_agent_behind_an_agent_tool_counts(
    write_agents: WriteAgents, as_alice: Client, gemini: Gemini, options: str
) -> None:
    await write_agents({"team/agent.py": TEAM % options})
    gemini.on_agent("team", [Call("expert", {"request": "Look"})], [Text("It is there.")])
    gemini.on_agent("expert", [Call("look", {"place": "here"})], [Text("Seen.")])
    said = await Talk(as_alice).ask("Look", agent="team")
    assert (said.end, said.text) == ("run.completed", "It is there.")
    assert len(gemini.requests) == 4
    assert counted(await Run.objects.aget()) == USAGE_OF[4]
    assert said.data["usage"]["calls"] == 4


@BOTH
async def test_model_calls_bounds_an_agent_and_its_agent_tools_together(
    write_agents: WriteAgents, as_alice: Client, gemini: Gemini, settings: Any, options: str
) -> None:
    settings.MODEL_CALLS = 5
    await write_agents({"team/agent.py": TEAM % options})
    gemini.on_agent("team", [Call("expert", {"request": "Look"})])
    gemini.on_agent("expert", [Call("look", {"place": "here"})], [Text("Seen.")])
    said = await Talk(as_alice).ask("Look", agent="team")
    assert (said.end, said.code) == ("run.failed", "limit")
    assert len(gemini.requests) == 5
    assert (await Run.objects.aget()).usage_calls == 5


COMPACTED = """
    from google.adk.agents import Agent
    from google.adk.apps import App
    from google.adk.apps.app import EventsCompactionConfig

    root_agent = Agent(name="compacted", model="gemini-2.5-flash")
    app = App(
        name="compacted",
        root_agent=root_agent,
        events_compaction_config=EventsCompactionConfig(compaction_interval=2, overlap_size=0),
    )
"""


async def test_a_summary_of_earlier_turns_counts_in_the_run_that_made_it(
    write_agents: WriteAgents, as_alice: Client, gemini: Gemini
) -> None:
    await write_agents({"compacted/agent.py": COMPACTED})
    talk = Talk(as_alice)
    await talk.ask("One", agent="compacted")
    said = await talk.ask("Two")
    assert len(gemini.requests) == 3
    first, second = [run async for run in Run.objects.order_by("created_at")]
    assert counted(first) == USAGE_OF[1]
    assert counted(second) == USAGE_OF[2]
    assert said.data["usage"]["calls"] == 2


ISOLATED = """
    from google.adk.agents import Agent
    from google.adk.apps import App
    from google.adk.plugins import BasePlugin
    from google.adk.tools import AgentTool

    class Stamp(BasePlugin):
        async def before_model_callback(self, *, callback_context, llm_request):
            llm_request.append_instructions(["stamped"])

    expert = Agent(name="expert", model="gemini-2.5-flash", description="Knows.")
    isolated = AgentTool(expert, include_plugins=False)
    root_agent = Agent(name="team", model="gemini-2.5-flash", tools=[isolated])
    app = App(name="team", root_agent=root_agent, plugins=[Stamp(name="stamp")])
"""


async def test_an_agent_tool_without_plugins_stays_without_those_of_the_app(
    write_agents: WriteAgents, as_alice: Client, gemini: Gemini
) -> None:
    await write_agents({"team/agent.py": ISOLATED})
    gemini.on_agent("team", [Call("expert", {"request": "Look"})], [Text("Seen.")])
    await Talk(as_alice).ask("Look", agent="team")
    stamped = ["stamped" in str(request["systemInstruction"]) for request in gemini.requests]
    assert stamped == [True, False, True]
