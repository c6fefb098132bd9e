"""Five agents of the kind found in ADK's samples, driven as a member does."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chat.agent.agents import catalog
from chat.models import SessionEvent
from tests.support import oracle
from tests.support.client import Client
from tests.support.gemini import Call, Failure, Gemini, Hold, Pause, Text, Thought, questions_of
from tests.support.sse_client import text_of
from tests.support.talk import Said, Talk
from tests.support.waiting import auntil

AGENTS = Path(__file__).parents[1] / "sample_agents"


@pytest.fixture
async def start_talk(settings: Any, as_alice: Client) -> Callable[[str], Talk]:
    """Return a function that begins a conversation of alice: ``start_talk("weather_time")``."""
    settings.AGENTS_DIR = AGENTS
    await catalog.close()
    return lambda agent: AgentTalk(as_alice, agent)


class AgentTalk(Talk):
    def __init__(self, client: Client, agent: str) -> None:
        super().__init__(client)
        self.agent = agent

    def _body(self, query: str | None, fields: dict[str, Any]) -> dict[str, Any]:
        body = super()._body(query, fields)
        return body if self.conversation else {"agent": self.agent, **body}


StartTalk = Callable[[str], AgentTalk]


def speeches(said: Said) -> list[tuple[str, str]]:
    """Return agents and their texts as a reader shows them: consecutive texts of one agent are joined."""
    found: list[tuple[str, str]] = []
    speaker = said.events[0].json()["agent"]
    for event in said.events:
        if event.name == "agent":
            speaker = event.json()["name"]
        elif event.is_text:
            if found and found[-1][0] == speaker:
                speaker, text = found.pop()
                found.append((speaker, text + event.json()["text"]))
            else:
                found.append((speaker, event.json()["text"]))
    return [(speaker, text.strip()) for speaker, text in found if text.strip()]


def stored_speeches(message: dict[str, Any]) -> list[tuple[str, str]]:
    items = [item for item in message["parts"]["items"] if item["type"] == "text"]
    return [(item["agent"], item["text"].strip()) for item in items if item["text"].strip()]


# --- the list of agents ---------------------------------------------------------------------------


async def test_each_agent_of_the_folder_is_listed_with_its_description(
    start_talk: StartTalk, as_alice: Client
) -> None:
    items = (await as_alice.get("/api/v1/agents")).json()["items"]
    assert [(each["name"], each["available"], each["reason"]) for each in items] == [
        ("chat_assistant", True, None),
        ("refine_loop", True, None),
        ("research_parallel", True, None),
        ("story_pipeline", True, None),
        ("travel_desk", True, None),
        ("weather_time", True, None),
    ]
    assert items[-1]["description"] == "Tells the weather in a city."


async def test_a_visitor_cannot_list_agents(start_talk: StartTalk, visitor: Client) -> None:
    answer = await visitor.get("/api/v1/agents")
    assert answer.status == 401
    assert b"weather_time" not in answer.body


async def test_an_unknown_agent_is_refused(start_talk: StartTalk, as_alice: Client) -> None:
    answer = await as_alice.post("/chat/stream", {"query": "Hello", "agent": "weather_rhyme"})
    assert (answer.status, answer.json()["error"]["code"]) == (422, "unknown_agent")


# --- an agent with tools: weather_time ------------------------------------------------------------


async def test_an_agent_calls_its_synchronous_tool(start_talk: StartTalk, gemini: Gemini) -> None:
    gemini.on(
        "Weather in Lagos?",
        [Text("I look."), Call("get_weather", {"city": "Lagos"})],
        [Text("It is "), Text("warm.")],
    )
    talk = start_talk("weather_time")
    said = await talk.ask("Weather in Lagos?")
    assert (said.end, said.text) == ("run.completed", "I look.\n\nIt is warm.")
    assert said.named("tool.returned")[0].json()["result"] == {"report": "warm and humid, 31 degrees"}
    assert said.events[0].json()["agent"] == "weather_time"
    # In ADK its name is root_agent, as adk create writes it; users see the name that they picked.
    assert not said.named("agent")
    assert (await talk.reply())["agent"] == "weather_time"


async def test_the_model_sees_the_error_of_a_tool_that_raises(start_talk: StartTalk, gemini: Gemini) -> None:
    gemini.on("Weather in Ys?", [Call("get_weather", {"city": "Ys"})], [Text("There is no such city.")])
    said = await start_talk("weather_time").ask("Weather in Ys?")
    assert said.named("tool.returned")[0].json()["error"] == "LookupError: no report for Ys"
    assert (said.end, said.text) == ("run.completed", "There is no such city.")


async def test_a_tool_that_blocks_its_thread_does_not_block_the_event_loop(
    start_talk: StartTalk, as_bob: Client, gemini: Gemini
) -> None:
    gemini.on("Wind?", [Call("measure", {"seconds": 1.0})], [Text("Calm.")])
    talk = start_talk("weather_time")
    asking = asyncio.ensure_future(talk.ask("Wind?"))
    await auntil(lambda: gemini.calls_for("Wind?"))
    clock, longest = asyncio.get_running_loop().time, 0.0
    while not asking.done():
        before = clock()
        await asyncio.sleep(0.01)
        longest = max(longest, clock() - before)
    said = await asking
    assert said.named("tool.returned")[0].json()["result"]["thread"].startswith("adk_tool_executor")
    assert longest < 0.7  # the event loop kept running


async def test_tools_of_agents_from_the_folder_have_a_time_limit(
    start_talk: StartTalk, gemini: Gemini, settings: Any
) -> None:
    settings.TOOL_SECONDS = 0.2
    gemini.on("Wind?", [Call("measure", {"seconds": 1.0})], [Text("I could not measure.")])
    said = await start_talk("weather_time").ask("Wind?")
    assert said.named("tool.returned")[0].json()["error"] == "measure did not answer within 0.2 s."
    assert (said.end, said.text) == ("run.completed", "I could not measure.")


async def test_an_endless_agent_fails_at_the_limit_of_model_calls(
    start_talk: StartTalk, gemini: Gemini, settings: Any
) -> None:
    settings.MODEL_CALLS = 4
    gemini.on("Weather?", [Call("get_weather", {"city": "Lagos"})])
    said = await start_talk("weather_time").ask("Weather?")
    assert (said.end, said.code) == ("run.failed", "limit")
    assert gemini.calls_for("Weather?") == 4


async def test_a_stopped_reply_is_the_agents_own_in_the_next_turn(
    start_talk: StartTalk, gemini: Gemini
) -> None:
    """ADK would quote another agent's reply to the model, instead of sending it as the model's own."""
    gemini.on("Weather?", [Text("It is"), Hold(), Text(" never")])
    talk = start_talk("weather_time")
    body = {"query": "Weather?", "agent": "weather_time"}
    async with talk.client.open("POST", "/chat/stream", json_body=body) as exchange:
        events = await exchange.until("text")
        answer = await talk.client.post(f"/chat/runs/{events[0].run}/stop")
        assert answer.json()["status"] == "stopped"
        events += await exchange.all_events()
    talk.conversation = events[0].json()["conversation"]
    assert Said(events).end == "run.stopped"
    await talk.ask("Go on")
    assert questions_of(gemini.requests[-1]) == [("user", "Weather?"), ("model", "It is"), ("user", "Go on")]


# --- a sequence: story_pipeline -------------------------------------------------------------------


async def test_agents_in_a_sequence_are_named_and_pass_on_their_output(
    start_talk: StartTalk, gemini: Gemini
) -> None:
    gemini.on_agent("outliner", [Text("A fox. "), Text("A hen.")])
    gemini.on_agent("writer", [Text("The fox "), Text("met the hen.")])
    gemini.on_agent("editor", [Text("They met.")])
    talk = start_talk("story_pipeline")
    said = await talk.ask("A story!")
    told = [("outliner", "A fox. A hen."), ("writer", "The fox met the hen."), ("editor", "They met.")]
    assert speeches(said) == told
    assert said.text == "A fox. A hen.\n\nThe fox met the hen.\n\nThey met."
    reply = await talk.reply()
    assert stored_speeches(reply) == told
    assert reply["text"] == said.text
    assert "outline: A fox. A hen." in json.dumps(gemini.requests[1]["systemInstruction"])
    assert said.data["usage"]["calls"] == 3
    await oracle.acheck([said.events])


async def test_a_sequence_can_answer_without_streaming(start_talk: StartTalk, gemini: Gemini) -> None:
    gemini.on_agent("outliner", [Text("A fox.")])
    gemini.on_agent("writer", [Text("The fox met the hen.")])
    gemini.on_agent("editor", [Text("They met.")])
    talk = start_talk("story_pipeline")
    answer = await talk.ask_whole("A story!")
    assert answer["message"]["text"] == "A fox.\n\nThe fox met the hen.\n\nThey met."
    assert [speaker for speaker, _text in stored_speeches(await talk.reply())] == [
        "outliner",
        "writer",
        "editor",
    ]


async def test_a_sequence_can_be_stopped_in_mid_reply(start_talk: StartTalk, gemini: Gemini) -> None:
    gemini.on_agent("outliner", [Text("A fox.")])
    gemini.on_agent("writer", [Text("The fox"), Hold(), Text(" never")])
    talk = start_talk("story_pipeline")
    body = {"query": "A story!", "agent": "story_pipeline"}
    async with talk.client.open("POST", "/chat/stream", json_body=body) as exchange:
        events = await exchange.until(lambda seen: text_of(seen).endswith("The fox"))
        answer = await talk.client.post(f"/chat/runs/{events[0].run}/stop")
        assert answer.json()["status"] == "stopped"
        events += await exchange.all_events()
    said = Said(events)
    assert (said.end, said.text) == ("run.stopped", "A fox.\n\nThe fox")
    assert said.data["duration_ms"] < 10_000
    await oracle.acheck([events])


# --- in parallel: research_parallel ---------------------------------------------------------------


async def test_texts_of_parallel_agents_are_not_interleaved(start_talk: StartTalk, gemini: Gemini) -> None:
    """Their fragments arrive interleaved."""
    wind = [step for n in range(5) for step in (Text(f"wind{n} "), Pause(0.15))]
    solar = [step for n in range(5) for step in (Text(f"sun{n} "), Pause(0.15))]
    gemini.on_agent("wind_researcher", [*wind, Text("blows.")])
    gemini.on_agent("solar_researcher", [*solar, Text("shines.")])
    gemini.on_agent("merger", [Text("Both "), Text("work.")])
    talk = start_talk("research_parallel")
    said = await talk.ask("Research!")
    told = dict(speeches(said))
    assert list(told)[-1] == "merger" and len(speeches(said)) == 3
    assert told == {
        "wind_researcher": "wind0 wind1 wind2 wind3 wind4 blows.",
        "solar_researcher": "sun0 sun1 sun2 sun3 sun4 shines.",
        "merger": "Both work.",
    }
    assert not said.named("replace")
    assert len(said.named("agent")) == 3
    first = speeches(said)[0][1]
    parts = [event.json()["text"] for event in said.events if event.is_text]
    assert len([part for part in parts if part.startswith(first[:3])]) > 2, "the first one streams"
    reply = await talk.reply()
    assert stored_speeches(reply) == speeches(said)
    assert reply["text"] == said.text
    await oracle.acheck([said.events])


async def test_thoughts_of_parallel_agents_are_not_interleaved(start_talk: StartTalk, gemini: Gemini) -> None:
    gemini.on_agent("wind_researcher", [Thought("w1 "), Pause(0.1), Thought("w2 "), Text("Wind.")])
    gemini.on_agent("solar_researcher", [Thought("s1 "), Pause(0.1), Thought("s2 "), Text("Sun.")])
    gemini.on_agent("merger", [Text("Both.")])
    talk = start_talk("research_parallel")
    await talk.ask("Research!")
    items = (await talk.reply())["parts"]["items"]
    thoughts = {item["agent"]: item["text"] for item in items if item["type"] == "thought"}
    assert thoughts == {"wind_researcher": "w1 w2 ", "solar_researcher": "s1 s2 "}


@pytest.mark.parametrize("end", ["stop", "failure"])
async def test_complete_text_is_shown_even_if_a_parallel_agent_is_cut_off(
    start_talk: StartTalk, gemini: Gemini, end: str
) -> None:
    """The wind agent streams and is cut off; the sun agent has finished, and the session has its text."""
    cut: list[Any] = [Hold(), Text("never")] if end == "stop" else [Pause(0.5), Failure(500, "INTERNAL")]
    gemini.on_agent("wind_researcher", [Text("Gale"), *cut])
    gemini.on_agent("solar_researcher", [Pause(0.1), Text("Sun "), Text("shines.")])
    talk = start_talk("research_parallel")
    body = {"query": "Research!", "agent": "research_parallel"}
    async with talk.client.open("POST", "/chat/stream", json_body=body) as exchange:
        events = await exchange.until(lambda seen: text_of(seen) == "Gale")
        if end == "stop":
            stored = SessionEvent.objects.filter(run_id=events[0].run, payload__contains="shines.")
            await auntil(stored.aexists)
            await talk.client.post(f"/chat/runs/{events[0].run}/stop")
        events += await exchange.all_events()
    said = Said(events)
    assert said.end == ("run.stopped" if end == "stop" else "run.failed")
    assert speeches(said) == [("wind_researcher", "Gale"), ("solar_researcher", "Sun shines.")]
    await oracle.acheck([events])
    talk.conversation = events[0].json()["conversation"]
    gemini.release()
    for agent in ("wind_researcher", "solar_researcher", "merger"):
        gemini.on_agent(agent, [Text("Well.")])
    await talk.ask("And now?")
    known = json.dumps(gemini.requests[-1]["contents"])
    assert known.count("Sun shines.") == 1
    assert known.count("Gale") == 1
    assert "[wind_researcher] said" in known


# --- a loop: refine_loop --------------------------------------------------------------------------


async def test_a_loop_ends_when_one_of_its_agents_escalates(start_talk: StartTalk, gemini: Gemini) -> None:
    gemini.on_agent("drafter", [Text("Draft one.")])
    gemini.on_agent("critic", [Text("Too short.")], [Call("exit_loop")])
    gemini.on_agent("refiner", [Text("Draft two.")])
    talk = start_talk("refine_loop")
    said = await talk.ask("A text!")
    assert said.end == "run.completed"
    assert speeches(said) == [
        ("drafter", "Draft one."),
        ("critic", "Too short."),
        ("refiner", "Draft two."),
    ]
    assert [event.json()["name"] for event in said.named("tool.called")] == ["exit_loop"]
    assert "Draft two." in json.dumps(gemini.requests[-1]["systemInstruction"])
    await oracle.acheck([said.events])


async def test_a_loop_without_escalation_ends_at_its_own_limit(start_talk: StartTalk, gemini: Gemini) -> None:
    gemini.on_agent("drafter", [Text("D.")])
    gemini.on_agent("critic", [Text("C.")])
    gemini.on_agent("refiner", [Text("R.")])
    said = await start_talk("refine_loop").ask("A text!")
    assert [text for _speaker, text in speeches(said)] == ["D."] + ["C.", "R."] * 3


async def test_a_loop_counts_against_the_runs_limit_of_model_calls(
    start_talk: StartTalk, gemini: Gemini, settings: Any
) -> None:
    settings.MODEL_CALLS = 3
    for agent in ("drafter", "critic", "refiner"):
        gemini.on_agent(agent, [Text("x")])
    said = await start_talk("refine_loop").ask("A text!")
    assert (said.end, said.code) == ("run.failed", "limit")
    assert said.text == "x\n\nx\n\nx"


# --- transfer: travel_desk ------------------------------------------------------------------------


async def test_the_next_turn_continues_with_the_agent_transferred_to(
    start_talk: StartTalk, gemini: Gemini
) -> None:
    gemini.on_agent(
        "travel_desk", [Text("I hand you over."), Call("transfer_to_agent", {"agent_name": "flights"})]
    )
    gemini.on_agent("flights", [Call("book_flight", {"destination": "Oslo"})], [Text("Booked.")])
    talk = start_talk("travel_desk")
    said = await talk.ask("To Oslo!")
    assert speeches(said) == [("travel_desk", "I hand you over."), ("flights", "Booked.")]
    assert said.named("tool.returned")[-1].json()["result"] == {"ticket": "Oslo-1"}
    assert (await talk.reply())["agent"] == "flights"

    gemini.on_agent("flights", [Call("book_flight", {"destination": "Rome"})], [Text("Booked too.")])
    again = await talk.ask("And Rome!")
    assert speeches(again) == [("flights", "Booked too.")]
    assert again.named("tool.returned")[-1].json()["result"] == {"ticket": "Rome-2"}, "state is kept"
    await oracle.acheck([said.events, again.events])


async def test_an_agent_written_in_python_can_be_part_of_one_in_yaml(
    start_talk: StartTalk, gemini: Gemini
) -> None:
    gemini.on_agent("travel_desk", [Call("transfer_to_agent", {"agent_name": "hotels"})])
    gemini.on_agent("hotels", [Text("There is one.")])
    said = await start_talk("travel_desk").ask("A bed!")
    assert speeches(said) == [("hotels", "There is one.")]
