"""Other people's agents: five of the kind found in ADK's samples, driven as a member does."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chat.agent.agents import catalog
from tests import oracle
from tests.client import Client
from tests.gemini import Call, Failure, Gemini, Hold, Pause, Text, Thought, questions_of
from tests.sse_client import SseEvent, text_of
from tests.talk import Said, Talk

AGENTS = Path(__file__).parent / "agents"
Thread = Callable[..., Any]


@pytest.fixture
async def alices(settings: Any, as_alice: Client) -> Callable[[str], Talk]:
    """``alices("weather_time")``: a conversation that alice begins with that agent."""
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


Alices = Callable[[str], AgentTalk]


def speeches(said: Said) -> list[tuple[str, str]]:
    """Who said what, as a reader puts it together: the texts of one agent in a row are one."""
    found: list[tuple[str, str]] = []
    speaker = said.events[0].json()["agent"]
    for event in said.events:
        if event.name == "agent":
            speaker = event.json()["name"]
        elif not event.name and not event.is_done:
            if found and found[-1][0] == speaker:
                speaker, text = found.pop()
                found.append((speaker, text + event.json()["text"]))
            else:
                found.append((speaker, event.json()["text"]))
    return [(speaker, text.strip()) for speaker, text in found if text.strip()]


def stored_speeches(message: dict[str, Any]) -> list[tuple[str, str]]:
    items = [item for item in message["parts"]["items"] if item["type"] == "text"]
    return [(item["agent"], item["text"].strip()) for item in items if item["text"].strip()]


# --- which there are ------------------------------------------------------------------------------


async def test_each_agent_of_the_folder_is_offered_with_its_description(
    alices: Alices, as_alice: Client
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


async def test_a_stranger_to_the_site_learns_of_no_agent(alices: Alices, visitor: Client) -> None:
    answer = await visitor.get("/api/v1/agents")
    assert answer.status == 401
    assert b"weather_time" not in answer.body


async def test_an_agent_that_is_not_there_is_refused(alices: Alices, as_alice: Client) -> None:
    answer = await as_alice.post("/chat/stream", {"query": "Hello", "agent": "weather_rhyme"})
    assert (answer.status, answer.json()["error"]["code"]) == (422, "unknown_agent")


# --- an agent with tools: weather_time ------------------------------------------------------------


async def test_an_agent_calls_its_synchronous_tool(alices: Alices, gemini: Gemini) -> None:
    gemini.on(
        "Weather in Lagos?",
        [Text("I look."), Call("get_weather", {"city": "Lagos"})],
        [Text("It is "), Text("warm.")],
    )
    talk = alices("weather_time")
    said = await talk.ask("Weather in Lagos?")
    assert (said.end, said.text) == ("run.completed", "I look.\n\nIt is warm.")
    assert said.named("tool.returned")[0].json()["result"] == {"report": "warm and humid, 31 degrees"}
    assert said.events[0].json()["agent"] == "weather_time"
    # ADK knows it as root_agent, as adk create has it; to people it is the agent that they picked.
    assert not said.named("agent")
    assert (await talk.reply())["agent"] == "weather_time"


async def test_a_tool_that_raises_is_an_error_that_the_model_sees(alices: Alices, gemini: Gemini) -> None:
    gemini.on("Weather in Ys?", [Call("get_weather", {"city": "Ys"})], [Text("There is no such city.")])
    said = await alices("weather_time").ask("Weather in Ys?")
    assert said.named("tool.returned")[0].json()["error"] == "LookupError: no report for Ys"
    assert (said.end, said.text) == ("run.completed", "There is no such city.")


async def test_a_tool_that_blocks_its_thread_holds_up_nobody_else(
    alices: Alices, as_bob: Client, gemini: Gemini
) -> None:
    gemini.on("Wind?", [Call("measure", {"seconds": 1.0})], [Text("Calm.")])
    talk = alices("weather_time")
    asking = asyncio.ensure_future(talk.ask("Wind?"))
    while not gemini.calls_for("Wind?"):
        await asyncio.sleep(0.01)
    clock, longest = asyncio.get_running_loop().time, 0.0
    while not asking.done():
        before = clock()
        await asyncio.sleep(0.01)
        longest = max(longest, clock() - before)
    said = await asking
    assert said.named("tool.returned")[0].json()["result"]["thread"].startswith("adk_tool_executor")
    assert longest < 0.7  # the loop went on meanwhile


async def test_a_tool_of_another_agent_has_its_time_too(
    alices: Alices, gemini: Gemini, settings: Any
) -> None:
    settings.TOOL_SECONDS = 0.2
    gemini.on("Wind?", [Call("measure", {"seconds": 1.0})], [Text("I could not measure.")])
    said = await alices("weather_time").ask("Wind?")
    assert said.named("tool.returned")[0].json()["error"] == "measure did not answer within 0.2 s."
    assert (said.end, said.text) == ("run.completed", "I could not measure.")


async def test_an_agent_that_does_not_come_to_an_end_is_ended(
    alices: Alices, gemini: Gemini, settings: Any
) -> None:
    settings.MODEL_CALLS = 4
    gemini.on("Weather?", [Call("get_weather", {"city": "Lagos"})])
    said = await alices("weather_time").ask("Weather?")
    assert (said.end, said.code) == ("run.failed", "limit")
    assert gemini.calls_for("Weather?") == 4


async def test_a_stopped_reply_is_the_agents_own_in_the_next_turn(alices: Alices, gemini: Gemini) -> None:
    """Not another agent's: ADK would quote it to the model, instead of letting it be its own word."""
    gemini.on("Weather?", [Text("It is"), Hold(), Text(" never")])
    talk = alices("weather_time")
    events = []
    body = {"query": "Weather?", "agent": "weather_time"}
    async with talk.client.open("POST", "/chat/stream", json_body=body) as exchange:
        async for event in exchange.events():
            events.append(event)
            if not event.name and not event.is_done:
                await talk.client.post(f"/chat/runs/{event.run}/stop")
    talk.conversation = events[0].json()["conversation"]
    assert Said(events).end == "run.stopped"
    await talk.ask("Go on")
    assert questions_of(gemini.requests[-1]) == [("user", "Weather?"), ("model", "It is"), ("user", "Go on")]


# --- one after the other: story_pipeline ----------------------------------------------------------


async def test_agents_in_a_sequence_are_named_and_hand_on_what_they_wrote(
    alices: Alices, gemini: Gemini, in_thread: Thread
) -> None:
    gemini.on_agent("outliner", [Text("A fox. "), Text("A hen.")])
    gemini.on_agent("writer", [Text("The fox "), Text("met the hen.")])
    gemini.on_agent("editor", [Text("They met.")])
    talk = alices("story_pipeline")
    said = await talk.ask("A story!")
    told = [("outliner", "A fox. A hen."), ("writer", "The fox met the hen."), ("editor", "They met.")]
    assert speeches(said) == told
    assert said.text == "A fox. A hen.\n\nThe fox met the hen.\n\nThey met."
    reply = await talk.reply()
    assert stored_speeches(reply) == told
    assert reply["text"] == said.text
    assert "outline: A fox. A hen." in json.dumps(gemini.requests[1]["systemInstruction"])
    assert said.data["usage"]["calls"] == 3
    await in_thread(oracle.check, [said.events])


async def test_the_same_without_streaming(alices: Alices, gemini: Gemini) -> None:
    gemini.on_agent("outliner", [Text("A fox.")])
    gemini.on_agent("writer", [Text("The fox met the hen.")])
    gemini.on_agent("editor", [Text("They met.")])
    talk = alices("story_pipeline")
    answer = await talk.ask_whole("A story!")
    assert answer["message"]["text"] == "A fox.\n\nThe fox met the hen.\n\nThey met."
    assert [speaker for speaker, _text in stored_speeches(await talk.reply())] == [
        "outliner",
        "writer",
        "editor",
    ]


async def test_a_sequence_is_stopped_in_the_middle_of_a_word(
    alices: Alices, gemini: Gemini, in_thread: Thread
) -> None:
    gemini.on_agent("outliner", [Text("A fox.")])
    gemini.on_agent("writer", [Text("The fox"), Hold(), Text(" never")])
    talk = alices("story_pipeline")
    events: list[SseEvent] = []
    body = {"query": "A story!", "agent": "story_pipeline"}
    async with talk.client.open("POST", "/chat/stream", json_body=body) as exchange:
        async for event in exchange.events():
            events.append(event)
            if text_of(events).endswith("The fox"):
                await talk.client.post(f"/chat/runs/{event.run}/stop")
    said = Said(events)
    assert (said.end, said.text) == ("run.stopped", "A fox.\n\nThe fox")
    assert said.data["duration_ms"] < 10_000
    await in_thread(oracle.check, [events])


# --- at once: research_parallel -------------------------------------------------------------------


async def test_agents_at_once_are_each_read_in_one_piece(
    alices: Alices, gemini: Gemini, in_thread: Thread
) -> None:
    """Their fragments arrive mixed."""
    wind = [step for n in range(5) for step in (Text(f"wind{n} "), Pause(0.15))]
    solar = [step for n in range(5) for step in (Text(f"sun{n} "), Pause(0.15))]
    gemini.on_agent("wind_researcher", [*wind, Text("blows.")])
    gemini.on_agent("solar_researcher", [*solar, Text("shines.")])
    gemini.on_agent("merger", [Text("Both "), Text("work.")])
    talk = alices("research_parallel")
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
    first = speeches(said)[0][0]
    parts = [event.json()["text"] for event in said.events if not event.name and not event.is_done]
    assert len([part for part in parts if part.startswith(first[:3])]) > 2, "the first one streams"
    reply = await talk.reply()
    assert stored_speeches(reply) == speeches(said)
    assert reply["text"] == said.text
    await in_thread(oracle.check, [said.events])


async def test_thoughts_of_agents_at_once_are_not_mixed_either(alices: Alices, gemini: Gemini) -> None:
    gemini.on_agent("wind_researcher", [Thought("w1 "), Pause(0.1), Thought("w2 "), Text("Wind.")])
    gemini.on_agent("solar_researcher", [Thought("s1 "), Pause(0.1), Thought("s2 "), Text("Sun.")])
    gemini.on_agent("merger", [Text("Both.")])
    talk = alices("research_parallel")
    await talk.ask("Research!")
    items = (await talk.reply())["parts"]["items"]
    thoughts = {item["agent"]: item["text"] for item in items if item["type"] == "thought"}
    assert thoughts == {"wind_researcher": "w1 w2 ", "solar_researcher": "s1 s2 "}


@pytest.mark.parametrize("end", ["stop", "failure"])
async def test_what_was_said_in_full_is_shown_also_where_another_ones_word_was_cut(
    alices: Alices, gemini: Gemini, in_thread: Thread, end: str
) -> None:
    """The wind has the floor and hangs; the sun finished meanwhile, and the session holds it."""
    cut: list[Any] = [Hold(), Text("never")] if end == "stop" else [Pause(0.5), Failure(500, "INTERNAL")]
    gemini.on_agent("wind_researcher", [Text("Gale"), *cut])
    gemini.on_agent("solar_researcher", [Pause(0.1), Text("Sun "), Text("shines.")])
    talk = alices("research_parallel")
    events: list[SseEvent] = []
    body = {"query": "Research!", "agent": "research_parallel"}
    async with talk.client.open("POST", "/chat/stream", json_body=body) as exchange:
        async for event in exchange.events():
            events.append(event)
            if end == "stop" and not event.name and text_of(events) == "Gale":
                await _until_stored(in_thread, event.run, "shines.")
                await talk.client.post(f"/chat/runs/{event.run}/stop")
    said = Said(events)
    assert said.end == ("run.stopped" if end == "stop" else "run.failed")
    assert speeches(said) == [("wind_researcher", "Gale"), ("solar_researcher", "Sun shines.")]
    await in_thread(oracle.check, [events])
    talk.conversation = events[0].json()["conversation"]
    gemini.release()
    for agent in ("wind_researcher", "solar_researcher", "merger"):
        gemini.on_agent(agent, [Text("Well.")])
    await talk.ask("And now?")
    known = json.dumps(gemini.requests[-1]["contents"])
    assert known.count("Sun shines.") == 1
    assert known.count("Gale") == 1
    assert "[wind_researcher] said" in known


async def _until_stored(in_thread: Thread, run: str, text: str) -> None:
    from chat.models import SessionEvent

    async with asyncio.timeout(20):
        while not await in_thread(SessionEvent.objects.filter(run_id=run, payload__contains=text).exists):
            await asyncio.sleep(0.02)


# --- again and again: refine_loop -----------------------------------------------------------------


async def test_a_loop_ends_when_one_of_its_agents_escalates(
    alices: Alices, gemini: Gemini, in_thread: Thread
) -> None:
    gemini.on_agent("drafter", [Text("Draft one.")])
    gemini.on_agent("critic", [Text("Too short.")], [Call("exit_loop")])
    gemini.on_agent("refiner", [Text("Draft two.")])
    talk = alices("refine_loop")
    said = await talk.ask("A text!")
    assert said.end == "run.completed"
    assert speeches(said) == [
        ("drafter", "Draft one."),
        ("critic", "Too short."),
        ("refiner", "Draft two."),
    ]
    assert [event.json()["name"] for event in said.named("tool.called")] == ["exit_loop"]
    assert "Draft two." in json.dumps(gemini.requests[-1]["systemInstruction"])
    await in_thread(oracle.check, [said.events])


async def test_a_loop_that_nobody_ends_ends_by_its_own_limit(alices: Alices, gemini: Gemini) -> None:
    gemini.on_agent("drafter", [Text("D.")])
    gemini.on_agent("critic", [Text("C.")])
    gemini.on_agent("refiner", [Text("R.")])
    said = await alices("refine_loop").ask("A text!")
    assert [text for _speaker, text in speeches(said)] == ["D."] + ["C.", "R."] * 3


async def test_a_loop_uses_up_the_runs_model_calls(alices: Alices, gemini: Gemini, settings: Any) -> None:
    settings.MODEL_CALLS = 3
    for agent in ("drafter", "critic", "refiner"):
        gemini.on_agent(agent, [Text("x")])
    said = await alices("refine_loop").ask("A text!")
    assert (said.end, said.code) == ("run.failed", "limit")
    assert said.text == "x\n\nx\n\nx"


# --- handing over: travel_desk --------------------------------------------------------------------


async def test_who_was_handed_over_stays_with_that_agent(
    alices: Alices, gemini: Gemini, in_thread: Thread
) -> None:
    gemini.on_agent(
        "travel_desk", [Text("I hand you over."), Call("transfer_to_agent", {"agent_name": "flights"})]
    )
    gemini.on_agent("flights", [Call("book_flight", {"destination": "Oslo"})], [Text("Booked.")])
    talk = alices("travel_desk")
    said = await talk.ask("To Oslo!")
    assert speeches(said) == [("travel_desk", "I hand you over."), ("flights", "Booked.")]
    assert said.named("tool.returned")[-1].json()["result"] == {"ticket": "Oslo-1"}
    assert (await talk.reply())["agent"] == "flights"

    gemini.on_agent("flights", [Call("book_flight", {"destination": "Rome"})], [Text("Booked too.")])
    again = await talk.ask("And Rome!")
    assert speeches(again) == [("flights", "Booked too.")]
    assert again.named("tool.returned")[-1].json()["result"] == {"ticket": "Rome-2"}, "state is kept"
    await in_thread(oracle.check, [said.events, again.events])


async def test_an_agent_that_is_written_in_code_is_part_of_one_in_yaml(
    alices: Alices, gemini: Gemini
) -> None:
    gemini.on_agent("travel_desk", [Call("transfer_to_agent", {"agent_name": "hotels"})])
    gemini.on_agent("hotels", [Text("There is one.")])
    said = await alices("travel_desk").ask("A bed!")
    assert speeches(said) == [("hotels", "There is one.")]
