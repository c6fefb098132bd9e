"""Time limits of the first token, silence, the whole run and tools; the conversation stays usable."""

import asyncio
import textwrap
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from chat.agent.agents import catalog
from chat.models import Run
from tests.support import oracle
from tests.support.client import Client
from tests.support.gemini import Call, Gemini, Hold, Pause, Text, Thought, questions_of
from tests.support.talk import Said, Talk, use_tools

pytestmark = pytest.mark.any_database


@pytest.fixture
def talk(as_alice: Client) -> Talk:
    return Talk(as_alice)


async def works_on(talk: Talk, gemini: Gemini, settings: Any, *, asked: str, seen: list[str]) -> None:
    """Check that the next question is answered, and that the model knows what the person saw."""
    settings.FIRST_TOKEN_SECONDS = settings.SILENCE_SECONDS = settings.RUN_SECONDS = 60
    gemini.release()
    said = await talk.ask("And now?")
    assert (said.end, said.text) == ("run.completed", "You said: And now?")
    expected = [("user", asked), *(("model", text) for text in seen), ("user", "And now?")]
    assert questions_of(gemini.requests[-1]) == expected


# --- the first token ------------------------------------------------------------------------------


async def test_a_model_that_does_not_begin_in_time_fails_the_run(
    talk: Talk, gemini: Gemini, settings: Any
) -> None:
    settings.FIRST_TOKEN_SECONDS = 0.3
    gemini.on("slow", [Hold(), Text("Never.")])
    said = await talk.ask("slow")
    assert (said.end, said.code, said.message) == ("run.failed", "timeout_first", None)
    assert said.data["detail"] == "The model did not begin to answer in time." and said.data["retryable"]
    assert said.data["ttft_ms"] is None and 300 <= said.data["duration_ms"] < 2000
    await works_on(talk, gemini, settings, asked="slow", seen=[])
    await oracle.acheck([said.events])


async def test_the_first_token_limit_is_for_the_whole_answer_without_streaming(
    talk: Talk, gemini: Gemini, settings: Any
) -> None:
    settings.FIRST_TOKEN_SECONDS = 0.3
    gemini.on("slow", [Text("Held back"), Hold(), Text(" until it is whole.")])
    answer = await talk.ask_whole("slow")
    assert (answer["status"], answer["code"], answer["message"]) == ("failed", "timeout_first", None)
    await works_on(talk, gemini, settings, asked="slow", seen=[])


async def test_a_thought_counts_as_a_first_token(talk: Talk, gemini: Gemini, settings: Any) -> None:
    settings.FIRST_TOKEN_SECONDS = 1.5
    gemini.on("think", [Thought("Hm."), Pause(2), Text("Done.")])
    said = await talk.ask("think")
    assert (said.end, said.text) == ("run.completed", "Done.")
    assert said.data["ttft_ms"] >= 2000  # the time of the text, not of the thought


async def test_each_model_call_has_the_time_of_a_first_token(
    talk: Talk, gemini: Gemini, settings: Any
) -> None:
    settings.SILENCE_SECONDS, settings.FIRST_TOKEN_SECONDS = 0.3, 1.5
    gemini.on("slow", [Call("calculate", {"expression": "1 + 1"})], [Pause(0.8), Text("Two.")])
    said = await talk.ask("slow")
    assert (said.end, said.text) == ("run.completed", "Two.")
    gemini.on("never", [Text("Wait."), Call("calculate", {"expression": "1 + 1"})], [Hold(), Text("Two.")])
    talk = Talk(talk.client)
    said = await talk.ask("never")
    assert (said.end, said.code, said.text) == ("run.failed", "timeout_first", "Wait.")
    await works_on(talk, gemini, settings, asked="never", seen=["Wait."])


# --- silence --------------------------------------------------------------------------------------


async def test_a_model_that_falls_silent_fails_the_run_and_its_text_is_kept(
    talk: Talk, gemini: Gemini, settings: Any
) -> None:
    settings.SILENCE_SECONDS = 0.3
    gemini.on("slow", [Text("Half "), Text("of it"), Hold(), Text("never.")])
    said = await talk.ask("slow")
    assert (said.end, said.code, said.text) == ("run.failed", "stalled", "Half of it")
    assert (await talk.reply())["text"] == "Half of it"
    await works_on(talk, gemini, settings, asked="slow", seen=["Half of it"])
    await oracle.acheck([said.events])


async def test_a_slow_model_is_not_silent(talk: Talk, gemini: Gemini, settings: Any) -> None:
    settings.SILENCE_SECONDS = 0.6
    steps = [step for n in range(5) for step in (Pause(0.2), Text(f"{n} "), Pause(0.2), Thought("hm"))]
    gemini.on("slow", [*steps, Text("5")])
    said = await talk.ask("slow")
    assert (said.end, said.text) == ("run.completed", "0 1 2 3 4 5")


async def test_silence_counts_only_while_text_is_streamed(talk: Talk, gemini: Gemini, settings: Any) -> None:
    """Without streaming, a model is silent until its whole answer is complete."""
    settings.SILENCE_SECONDS = 0.3
    gemini.on("slow", [Text("Not "), Pause(0.8), Text("yet.")])
    said = await talk.ask("slow")
    assert (said.end, said.code) == ("run.failed", "stalled")
    answer = await Talk(talk.client).ask_whole("slow")
    assert (answer["status"], answer["message"]["text"]) == ("completed", "Not yet.")


async def test_partial_arguments_of_a_call_are_progress(
    write_agents: Callable[[dict[str, str]], Awaitable[None]], talk: Talk, settings: Any
) -> None:
    settings.SILENCE_SECONDS = 0.5
    code = """
        import asyncio
        from google.adk.agents import Agent
        from google.adk.models import BaseLlm, LlmResponse
        from google.genai import types

        def content(**part):
            return types.Content(role="model", parts=[types.Part(**part)])

        def piece(n):
            argument = types.PartialArg(json_path="$.text", string_value=str(n), will_continue=True)
            return types.FunctionCall(id="1", name="write", partial_args=[argument], will_continue=True)

        class Slow(BaseLlm):
            async def generate_content_async(self, llm_request, stream=False):
                if llm_request.contents[-1].parts[0].function_response:
                    yield LlmResponse(content=content(text="Written."))
                    return
                for n in range(5):
                    yield LlmResponse(content=content(function_call=piece(n)), partial=True)
                    await asyncio.sleep(0.25)
                call = types.FunctionCall(id="1", name="write", args={"text": "01234"})
                yield LlmResponse(content=content(function_call=call))

        def write(text: str) -> dict:
            return {"written": text}

        root_agent = Agent(name="writer", model=Slow(model="slow"), tools=[write])
    """
    await write_agents({"writer.py": textwrap.dedent(code)})
    said = await talk.ask("Write.", agent="writer")
    assert (said.end, said.text) == ("run.completed", "Written.")
    (called,) = said.named("tool.called")
    assert called.json()["args"] == {"text": "01234"}


# --- the whole run --------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
async def test_a_run_that_takes_too_long_fails_and_its_text_is_kept(
    talk: Talk, gemini: Gemini, settings: Any, streamed: bool
) -> None:
    settings.RUN_SECONDS = 0.8
    drip = [step for _ in range(100) for step in (Text("drip "), Pause(0.05))]
    gemini.on("endless", [Text("First."), Call("calculate", {"expression": "1 + 1"})], drip)
    if streamed:
        said = await talk.ask("endless")
        assert (said.end, said.code) == ("run.failed", "timeout_run")
        text = said.text
        assert text.startswith("First.\n\ndrip drip ") and 3 <= text.count("drip") < 20
        assert 800 <= said.data["duration_ms"] < 2500
        seen = ["First.", text.removeprefix("First.\n\n")]
    else:
        answer = await talk.ask_whole("endless")
        assert (answer["status"], answer["code"]) == ("failed", "timeout_run")
        text, seen = answer["message"]["text"], ["First."]
        assert text == "First."
    assert (await talk.reply())["text"] == text
    await works_on(talk, gemini, settings, asked="endless", seen=seen)
    await oracle.acheck()


async def test_a_run_that_timed_out_in_a_tool_says_so_to_the_model(
    talk: Talk, gemini: Gemini, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.RUN_SECONDS = 0.5
    await use_tools(monkeypatch, lingers)
    gemini.on("slow", [Text("Wait."), Call("lingers")], [Text("Never.")])
    said = await talk.ask("slow")
    assert (said.end, said.code, said.text) == ("run.failed", "timeout_run", "Wait.")
    await works_on(talk, gemini, settings, asked="slow", seen=["Wait."])
    contents = gemini.requests[-1]["contents"]
    assert contents[1]["parts"][1]["functionCall"]["name"] == "lingers"
    assert contents[2]["parts"][0]["functionResponse"]["response"] == {"error": "interrupted"}


# --- tools ----------------------------------------------------------------------------------------


async def lingers() -> dict[str, Any]:
    """Never return."""
    await asyncio.sleep(3600)
    return {}


def blocks() -> dict[str, Any]:
    """Block the thread for 1.5 s, as careless code does."""
    time.sleep(1.5)
    return {"slept": 1.5}


async def rests() -> dict[str, Any]:
    """Return after 0.8 s."""
    await asyncio.sleep(0.8)
    return {"rested": 0.8}


async def test_only_the_time_limit_of_a_tool_counts_while_it_works(
    talk: Talk, gemini: Gemini, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SILENCE_SECONDS = settings.FIRST_TOKEN_SECONDS = 0.4
    await use_tools(monkeypatch, rests)
    gemini.on("Rest", [Text("I rest."), Call("rests"), Call("rests")], [Text("I rested.")])
    said = await talk.ask("Rest")
    assert (said.end, said.text) == ("run.completed", "I rest.\n\nI rested.")
    assert [each.json()["result"] for each in said.named("tool.returned")] == [{"rested": 0.8}] * 2


PAIR = """
    import asyncio
    from google.adk.agents import Agent, ParallelAgent

    async def rests() -> dict:
        await asyncio.sleep(0.8)
        return {}

    def one(name):
        return Agent(name=name, model="gemini-2.5-flash", tools=[rests])

    root_agent = ParallelAgent(name="pair", sub_agents=[one("left"), one("right")])
"""


async def test_a_silent_agent_has_time_while_the_tool_of_a_parallel_one_works(
    write_agents: Callable[[dict[str, str]], Awaitable[None]], talk: Talk, gemini: Gemini, settings: Any
) -> None:
    await write_agents({"pair.py": textwrap.dedent(PAIR)})
    settings.SILENCE_SECONDS = 0.4
    gemini.on_agent("left", [Call("rests")], [Text("I rested.")])
    gemini.on_agent("right", [Text("I "), Pause(0.7), Text("think.")])
    said = await talk.ask("Go", agent="pair")
    assert (said.end, said.code) == ("run.completed", None)
    assert sorted(said.text.split("\n\n")) == ["I rested.", "I think."]


async def test_a_silent_agent_ends_the_run_after_the_parallel_one_has_ended(
    write_agents: Callable[[dict[str, str]], Awaitable[None]], talk: Talk, gemini: Gemini, settings: Any
) -> None:
    await write_agents({"pair.py": textwrap.dedent(PAIR)})
    settings.SILENCE_SECONDS, settings.FIRST_TOKEN_SECONDS = 0.4, 0.5
    gemini.on_agent("left", [Call("rests")], [Text("I rested.")])
    gemini.on_agent("right", [Hold(), Text("Never.")])
    said = await talk.ask("Go", agent="pair")
    assert (said.end, said.code, said.text) == ("run.failed", "stalled", "I rested.")
    gemini.release()


@pytest.mark.parametrize("function", [lingers, blocks])
async def test_a_tool_that_takes_too_long_is_an_error_and_the_run_continues(
    talk: Talk, gemini: Gemini, settings: Any, monkeypatch: pytest.MonkeyPatch, function: Any
) -> None:
    settings.TOOL_SECONDS = 0.3
    await use_tools(monkeypatch, function)
    gemini.on("Look", [Call(function.__name__)], [Text("I could not look.")])
    said = await talk.ask("Look")
    assert (said.end, said.text) == ("run.completed", "I could not look.")
    (returned,) = said.named("tool.returned")
    assert returned.json()["error"] == f"{function.__name__} did not answer within 0.3 s."
    assert 300 <= returned.json()["elapsed_ms"] < 1300
    assert said.data["duration_ms"] < 1400  # the run does not wait for the thread


async def test_a_blocking_tool_does_not_delay_another_run(
    talk: Talk, as_bob: Client, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    await use_tools(monkeypatch, blocks)
    gemini.on("Look", [Call("blocks")], [Text("I looked.")])
    gemini.on("count", [step for n in range(10) for step in (Text(f"{n} "), Pause(0.03))])
    async with talk.client.open("POST", "/chat/stream", json_body={"query": "Look"}) as exchange:
        blocked = await exchange.until("tool.called")
        counting = asyncio.ensure_future(Talk(as_bob).ask("count"))
        blocked += await exchange.until("tool.returned")
        assert counting.done(), "bob's reply waited for alice's tool"
        blocked += await exchange.all_events()
    counted = await counting
    assert counted.text == "0 1 2 3 4 5 6 7 8 9 "
    assert counted.data["duration_ms"] < 1400 and counted.data["ttft_ms"] < 700
    assert Said(blocked).text == "I looked."


async def test_a_blocking_tool_does_not_delay_a_stop(
    talk: Talk, gemini: Gemini, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await use_tools(monkeypatch, blocks)
    gemini.on("Look", [Call("blocks")], [Text("Never.")])
    async with talk.client.open("POST", "/chat/stream", json_body={"query": "Look"}) as exchange:
        events = await exchange.until("tool.called")
        answer = await talk.client.post(f"/chat/runs/{events[0].run}/stop")
        assert answer.json()["status"] == "stopped"
        events += await exchange.all_events()
    assert Said(events).data["duration_ms"] < 1400
    talk.conversation = events[0].json()["conversation"]
    await works_on(talk, gemini, settings, asked="Look", seen=[])


OWN_LIMIT = """
    from google.adk.agents import Agent
    from google.adk.code_executors import BaseCodeExecutor
    from google.adk.tools.base_toolset import BaseToolset
    from pydantic import BaseModel

    class Remote(BaseCodeExecutor):
        timeout_seconds: int = 300

        def execute_code(self, invocation_context, code_execution_input):
            raise NotImplementedError

    class Connection(BaseModel):  # as of a McpToolset
        timeout: float = 5.0
        sse_read_timeout: float = 300.0

    class Files(BaseToolset):
        def __init__(self, **limits):
            super().__init__()
            self._connection_params = Connection(**limits)

        async def get_tools(self, readonly_context=None):
            return []

    inner = Agent(name="inner", model="gemini-2.5-flash", {more})
    root_agent = Agent(name="outer", model="gemini-2.5-flash", sub_agents=[inner])
"""


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ("code_executor=Remote()", None),
        ("code_executor=Remote(timeout_seconds=30)", None),
        (
            "code_executor=Remote(timeout_seconds=31)",
            "Its Remote has a time limit of 31 s, and TOOL_SECONDS is less.",
        ),
        ("tools=[Files(timeout=20)]", None),
        ("tools=[Files(timeout=90)]", "Its Files has a time limit of 90 s, and TOOL_SECONDS is less."),
        (
            "tools=[Files(timeout=1, sse_read_timeout=60)]",
            "Its Files has a time limit of 60 s, and TOOL_SECONDS is less.",
        ),
    ],
)
def test_an_agent_whose_tool_has_a_larger_limit_of_its_own_is_not_available(
    agent_files: Callable[[dict[str, str]], Path], more: str, reason: str | None
) -> None:
    agent_files({"limited.py": textwrap.dedent(OWN_LIMIT).replace("{more}", more)})
    assert [(found.name, found.reason) for found in catalog.all_agents()[1:]] == [("limited", reason)]


# --- concurrent runs ------------------------------------------------------------------------------


async def test_each_run_has_its_own_time_limits(as_alice: Client, gemini: Gemini, settings: Any) -> None:
    settings.SILENCE_SECONDS = 0.6
    gemini.on("stalls", [Text("Half"), Hold(), Text("never.")])
    gemini.on("goes on", [step for n in range(8) for step in (Text(f"{n} "), Pause(0.1))])
    stalled, *others = await asyncio.gather(
        Talk(as_alice).ask("stalls"), *(Talk(as_alice).ask("goes on") for _ in range(4))
    )
    assert (stalled.end, stalled.code, stalled.text) == ("run.failed", "stalled", "Half")
    assert {(said.end, said.text) for said in others} == {("run.completed", "0 1 2 3 4 5 6 7 ")}
    assert await Run.objects.active().acount() == 0


# --- an agent that ignores its cancellation -------------------------------------------------------

STUBBORN = """
    import asyncio, pathlib
    from google.adk.agents import BaseAgent
    from google.adk.events import Event
    from google.genai import types

    class Stubborn(BaseAgent):
        async def _run_async_impl(self, ctx):
            said = types.Content(role="model", parts=[types.Part(text="Half")])
            yield Event(author=self.name, content=said)
            while not pathlib.Path({gate!r}).exists():
                try:
                    await asyncio.sleep(0.05)
                except asyncio.CancelledError:
                    pass

    root_agent = Stubborn(name="stubborn")
"""


@pytest.fixture
async def stubborn(
    write_agents: Callable[[dict[str, str]], Awaitable[None]], tmp_path: Path
) -> AsyncIterator[str]:
    """Yield the name of an agent that swallows each cancellation until the end of the test."""
    gate = tmp_path / "gate"
    await write_agents({"stubborn/agent.py": textwrap.dedent(STUBBORN).format(gate=str(gate))})
    yield "stubborn"
    gate.touch()
    await asyncio.sleep(0.2)


async def test_a_stop_ends_the_run_of_an_agent_that_ignores_its_cancellation(
    as_alice: Client, stubborn: str
) -> None:
    body = {"query": "Go", "agent": stubborn}
    async with as_alice.open("POST", "/chat/stream", json_body=body) as exchange:
        seen = await exchange.until("text")
        answer = await as_alice.post(f"/chat/runs/{seen[0].run}/stop")
        seen += await exchange.all_events()
    assert answer.json()["status"] == "stopped"
    assert await Run.objects.values_list("status", "reply__text").aget() == ("stopped", "Half")
    await oracle.acheck([seen])


async def test_the_time_limit_ends_the_run_of_an_agent_that_ignores_its_cancellation(
    talk: Talk, settings: Any, stubborn: str
) -> None:
    settings.SILENCE_SECONDS = 0.3
    said = await talk.ask("Go", agent=stubborn)
    assert (said.end, said.code, said.text) == ("run.failed", "stalled", "Half")
    await oracle.acheck([said.events])
