"""Agents that use a memory: they run, but nothing is remembered or found."""

from collections.abc import Awaitable, Callable

import pytest

from tests.support.client import Client
from tests.support.gemini import Call, Gemini, Text
from tests.support.talk import Talk

WriteAsync = Callable[[dict[str, str]], Awaitable[None]]

AGENT = """
    from google.adk.agents import Agent
    from google.adk.tools import load_memory, preload_memory

    async def remember({arguments}):
        await {context}.{call}

    async def forget(tool_context) -> dict:
        \"\"\"Forgets.\"\"\"
        await tool_context.delete_memory("x")
        return {{"found": len((await tool_context.search_memory("secret")).memories)}}

    root_agent = Agent(
        name="keeper", model="gemini-2.5-flash", tools=[load_memory, preload_memory, forget],
        {callback}_callback=remember,
    )
"""
CALLBACKS = {
    "after_agent": ("callback_context", "callback_context", "add_session_to_memory()"),
    "before_agent": ("callback_context", "callback_context", "add_session_to_memory()"),
    "after_tool": ("tool, args, tool_context, tool_response", "tool_context", "add_session_to_memory()"),
    "after_model": ("callback_context, llm_response", "callback_context", "add_events_to_memory(events=[])"),
}


@pytest.mark.parametrize("callback", CALLBACKS)
async def test_an_agent_that_uses_a_memory_completes_and_finds_nothing(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini, callback: str
) -> None:
    arguments, context, call = CALLBACKS[callback]
    code = AGENT.format(arguments=arguments, context=context, call=call, callback=callback)
    await write_agents({"keeper/agent.py": code})
    gemini.on("Recall", [Call("load_memory", {"query": "secret"})], [Call("forget")], [Text("Nothing.")])
    talk = Talk(as_alice)
    assert (await talk.ask("My secret is blue", agent="keeper")).end == "run.completed"
    said = await Talk(as_alice).ask("Recall", agent="keeper")
    assert (said.end, said.text) == ("run.completed", "Nothing.")
    first, second = (event.json()["result"] for event in said.named("tool.returned"))
    assert first == {"result": {"memories": []}}
    assert second == {"found": 0}
