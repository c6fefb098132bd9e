"""Agents of many kinds: apps with plugins, own models, parallel agents, agents as tools, workflows."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from tests.agent.test_agents import speeches
from tests.support import oracle
from tests.support.client import Client
from tests.support.gemini import Call, Gemini, Hold, Pause, Text, Thought
from tests.support.talk import Talk

WriteAsync = Callable[[dict[str, str]], Awaitable[None]]

APP = """
    import asyncio
    from google.adk.agents import Agent
    from google.adk.apps import App
    from google.adk.models import BaseLlm, LlmResponse
    from google.adk.plugins import BasePlugin
    from google.genai import types

    seen = []

    class Seeing(BasePlugin):
        async def before_tool_callback(self, *, tool, tool_args, tool_context):
            seen.append(tool.name)

    def forgive(tool, args, tool_context, error):
        return {"forgiven": str(error)} if isinstance(error, KeyError) else None

    def fragile(kind: str) -> dict:
        \"\"\"Breaks.\"\"\"
        raise {"key": KeyError, "value": ValueError}[kind](", ".join(seen))

    agent = Agent(
        name="someone", model="gemini-2.5-flash", tools=[fragile], on_tool_error_callback=forgive
    )
    app = App(name="by_another_name", root_agent=agent, plugins=[Seeing(name="seeing")])
    root_agent = "an app counts before it"
"""


async def test_an_apps_plugins_and_error_callbacks_are_called(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    await write_agents({"fragile/agent.py": APP})
    gemini.on("Key", [Call("fragile", {"kind": "key"})], [Text("Forgiven.")])
    gemini.on("Value", [Call("fragile", {"kind": "value"})], [Text("Not forgiven.")])
    talk = Talk(as_alice)
    said = await talk.ask("Key", agent="fragile")
    assert said.named("tool.returned")[0].json()["result"] == {"forgiven": "'fragile'"}
    said = await talk.ask("Value")
    assert said.named("tool.returned")[0].json()["error"] == "ValueError: fragile, fragile"
    assert (said.end, said.text) == ("run.completed", "Not forgiven.")


async def test_an_agents_own_model_class_is_used(
    write_agents: WriteAsync, as_alice: Client, settings: Any
) -> None:
    settings.GOOGLE_API_KEY = ""
    code = """
        from google.adk.agents import Agent
        from google.adk.models import BaseLlm, LlmResponse
        from google.genai import types

        class Parrot(BaseLlm):
            async def generate_content_async(self, llm_request, stream=False):
                text = llm_request.contents[-1].parts[-1].text
                content = types.Content(role="model", parts=[types.Part(text=f"{text}, {text}!")])
                yield LlmResponse(content=content, partial=False)

        root_agent = Agent(name="parrot", model=Parrot(model="parrot"))
    """
    await write_agents({"parrot.py": code})
    assert (await Talk(as_alice).ask("Polly", agent="parrot")).text == "Polly, Polly!"


RACE = """
    from google.adk.agents import Agent, ParallelAgent, SequentialAgent
    from google.adk.tools import exit_loop

    def one(name, **more):
        return Agent(name=name, model="gemini-2.5-flash", **more)

    root_agent = SequentialAgent(
        name="race",
        sub_agents=[
            ParallelAgent(name="runners", sub_agents=[one("slow"), one("fast", tools=[exit_loop])]),
            one("judge"),
        ],
    )
"""


async def test_agents_after_an_escalation_do_not_wait_for_a_cut_off_agent(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    await write_agents({"race.py": RACE})
    gemini.on_agent("slow", [Thought("Hm."), Text("I begin"), Hold(), Text(" never")])
    gemini.on_agent("fast", [Pause(0.3), Text("Enough."), Call("exit_loop")])
    gemini.on_agent("judge", [Thought("Well."), Text("Fast "), Pause(0.3), Text("wins.")])
    talk = Talk(as_alice)
    said = await talk.ask("Run!", agent="race")
    assert said.end == "run.completed"
    assert speeches(said) == [("slow", "I begin"), ("fast", "Enough."), ("judge", "Fast wins.")]
    assert said.text == "I begin\n\nEnough.\n\nFast wins."
    assert said.thought == "Hm.Well."
    assert "Fast " in said.deltas(), "it streams, and does not wait for the agent that was cut off"
    assert not said.named("replace")
    await oracle.acheck([said.events])


TOOLS = """
    from google.adk.agents import Agent
    from google.adk.tools import AgentTool, LongRunningFunctionTool

    expert = Agent(name="expert", model="gemini-2.5-flash", description="Knows.")

    def apply(form: str) -> dict:
        \"\"\"Hands a form in; somebody decides tomorrow.\"\"\"
        return {"status": "pending"} if form == "blue" else None

    root_agent = Agent(
        name="root_agent",
        model="gemini-2.5-flash",
        tools=[AgentTool(expert), LongRunningFunctionTool(apply)],
    )
"""


async def test_an_agent_tool_answers_the_calling_agent_and_not_the_user(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    await write_agents({"office.py": TOOLS})
    gemini.on_agent("root_agent", [Call("expert", {"request": "What?"})], [Text("The expert says so.")])
    gemini.on_agent("expert", [Text("So.")])
    said = await Talk(as_alice).ask("What is it?", agent="office")
    assert said.text == "The expert says so."
    assert said.named("tool.returned")[0].json()["result"] == {"result": "So."}
    assert gemini.headers[-2]["accept-encoding"] == "identity", "through Parley's transport"


async def test_an_agent_tool_has_the_time_limit_of_a_tool(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini, settings: Any
) -> None:
    settings.TOOL_SECONDS = 0.3
    await write_agents({"office.py": TOOLS})
    gemini.on_agent("root_agent", [Call("expert", {"request": "What?"})], [Text("Nobody knows.")])
    gemini.on_agent("expert", [Hold(), Text("Late.")])
    said = await Talk(as_alice).ask("What is it?", agent="office")
    assert said.text == "Nobody knows."
    assert said.named("tool.returned")[0].json()["error"] == "expert did not answer within 0.3 s."


async def test_a_long_running_tool_with_a_result_is_an_ordinary_tool(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    await write_agents({"office.py": TOOLS})
    gemini.on_agent("root_agent", [Call("apply", {"form": "blue"})], [Text("It is pending.")])
    said = await Talk(as_alice).ask("Apply!", agent="office")
    assert (said.end, said.text) == ("run.completed", "It is pending.")


async def test_a_long_running_tool_without_a_result_ends_only_its_run(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    await write_agents({"office.py": TOOLS})
    gemini.on_agent("root_agent", [Text("I hand it in."), Call("apply", {"form": "red"})], [Text("Yes?")])
    talk = Talk(as_alice)
    said = await talk.ask("Apply!", agent="office")
    assert (said.end, said.text) == ("run.completed", "I hand it in.")
    again = await talk.ask("And?")
    assert (again.end, again.text) == ("run.completed", "Yes?")
    assert "I hand it in." in json.dumps(gemini.requests[-1]["contents"])
    await oracle.acheck([said.events, again.events])


WORKFLOW = """
    from google.adk.agents import Agent
    from google.adk.workflow import START, JoinNode, Workflow

    def one(name):
        return Agent(name=name, model="gemini-2.5-flash")

    left, right, judge, both = one("left"), one("right"), one("judge"), JoinNode(name="both")
    root_agent = Workflow(
        name="fork", edges=[(START, (left, right)), ((left, right), both), (both, judge)]
    )
"""


async def test_texts_of_parallel_workflow_nodes_are_not_interleaved(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    await write_agents({"fork.py": WORKFLOW})
    gemini.on("Fork!", [Text("one "), Pause(0.1), Text("two "), Pause(0.1), Text("three")])
    talk = Talk(as_alice)
    said = await talk.ask("Fork!", agent="fork")
    told = dict(speeches(said))
    forked = {"left": "one two three", "right": "one two three"}
    assert json.loads(told.pop("judge").removeprefix("You said: ")) == forked
    assert told == forked
    assert len(speeches(said)) == 3
    await oracle.acheck([said.events])


async def test_a_long_agent_name_is_stored_up_to_128_characters(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    code = RACE.replace('one("judge")', f'one("{"j" * 300}")')
    await write_agents({"race.py": code})
    talk = Talk(as_alice)
    said = await talk.ask("Run!", agent="race")
    assert said.end == "run.completed"
    assert (await talk.reply())["agent"] == "j" * 128
