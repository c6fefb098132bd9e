"""Calls on Gemini's live wire: the real google-genai client, ADK's run_live, and a fake server."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from google import genai
from google.adk.agents import Agent
from google.adk.models.gemini_llm_connection import GeminiLlmConnection
from google.adk.utils.variant_utils import GoogleLLMVariant
from google.genai import types
from google.genai.live import AsyncSession
from websockets.protocol import State

from chat.agent.live.sound_path import INPUT_MIME, ShortPath
from chat.database import run_db
from chat.files.models import Artifact
from chat.models import PersonRequest, UserState
from tests.agent.calls import Caller
from tests.support.client import Client
from tests.support.gemini import Call, Gemini, Hold, Pause, Text, Thought, questions_of
from tests.support.gemini_live import (
    AwaitTools,
    Close,
    GeminiLive,
    GenerationComplete,
    GoAway,
    Heard,
    Interrupted,
    Message,
    Sound,
    Spoken,
    Tokens,
    TurnComplete,
    speech,
)
from tests.support.talk import Talk

WriteAsync = Callable[[dict[str, str]], Awaitable[None]]
QUESTION = "What time is it?"

HEAD = """
    from google.adk.agents import Agent
    from google.adk.tools import FunctionTool, LongRunningFunctionTool, ToolContext
    from google.genai import types

    MODEL = "gemini-2.5-flash-native-audio-preview-12-2025"
"""


@pytest.fixture
async def caller(gemini_live: GeminiLive, parley: Any, alice: Any, settings: Any) -> Caller:
    return await Caller.of(alice, settings.AGENT_NAME)


@pytest.fixture
def agent(
    write_agents: WriteAsync, gemini_live: GeminiLive, alice: Any
) -> Callable[[str], Awaitable[Caller]]:
    async def make(code: str) -> Caller:
        await write_agents({"clerk/agent.py": HEAD + code})
        return await Caller.of(alice, "clerk")

    return make


async def test_a_spoken_turn_is_text_of_both_sides(caller: Caller, gemini_live: GeminiLive) -> None:
    gemini_live.on(
        QUESTION,
        [Heard("What time "), Heard("is it?"), Spoken("It is "), Sound(100), Spoken("noon."), TurnComplete()],
    )
    async with caller.calling() as connection:
        connection.hear(speech(QUESTION))
        turn = await caller.turn()
    assert (turn.question, turn.text, turn.end) == (QUESTION, "It is noon.", "run.completed")
    assert turn.audio == 100 * 48
    assert turn.names() == ["text", "text"]
    assert await caller.stored(turn) == [("user", QUESTION), (caller.agent, "It is noon.")]


async def test_the_connection_has_parleys_account_and_settings(
    caller: Caller, gemini_live: GeminiLive
) -> None:
    async with caller.calling() as connection:
        connection.read("Hello")
        await caller.turn()
    [opened] = gemini_live.connections
    assert opened.headers["x-goog-api-key"] == "not-a-key"
    assert opened.setup["model"] == "models/gemini-2.5-flash-native-audio-preview-12-2025"
    assert opened.setup["generationConfig"]["responseModalities"] == ["AUDIO"]
    assert {"inputAudioTranscription", "outputAudioTranscription", "contextWindowCompression"} <= set(
        opened.setup
    )
    assert not opened.is_manual
    assert "You are a helpful" in str(opened.setup["systemInstruction"])


async def test_a_manual_connection_marks_the_members_activity(
    caller: Caller, gemini_live: GeminiLive
) -> None:
    async with caller.calling(manual=True) as connection:
        connection.start()
        connection.hear(speech("Hello", ends=False))
        connection.end()
        turn = await caller.turn()
    [opened] = gemini_live.connections
    assert opened.is_manual
    assert [list(each["realtimeInput"]) for each in opened.messages] == [["activityStart"], ["activityEnd"]]
    assert (turn.question, turn.text) == ("Hello", "You said: Hello")


async def test_the_transcript_may_come_after_the_answer(caller: Caller, gemini_live: GeminiLive) -> None:
    gemini_live.on("Late", [Spoken("Yes."), Sound(20), Heard("Late"), GenerationComplete(), TurnComplete()])
    async with caller.calling() as connection:
        connection.hear(speech("Late"))
        turn = await caller.turn()
    assert (turn.question, turn.text) == ("Late", "Yes.")
    assert await caller.stored(turn) == [("user", "Late"), (caller.agent, "Yes.")]


async def test_a_tool_call_splits_the_words(agent: Any, gemini_live: GeminiLive) -> None:
    caller = await agent(
        """
    def clock(place: str, tool_context: ToolContext) -> dict:
        tool_context.state["last_place"] = place
        tool_context.state["user:city"] = place
        return {"time": "12:00"}

    root_agent = Agent(name="root_agent", model=MODEL, tools=[clock])
    """
    )
    gemini_live.on(
        QUESTION,
        [
            Spoken("Let me "),
            Spoken("look."),
            Sound(40),
            Call("clock", {"place": "Lagos"}),
            TurnComplete(),
            AwaitTools(),
            Spoken("It is noon."),
            Sound(40),
            Tokens(30, 7),
            GenerationComplete(),
            TurnComplete(),
        ],
    )
    async with caller.calling() as connection:
        connection.hear(speech(QUESTION))
        turn = await caller.turn()
    assert turn.names() == ["text", "text", "tool.called", "tool.returned", "text", "text"]
    assert turn.text == "Let me look.\n\nIt is noon."
    assert await caller.stored(turn) == [
        ("user", QUESTION),
        ("root_agent", "Let me look."),
        ("root_agent", "call clock"),
        ("root_agent", "result clock"),
        ("root_agent", "It is noon."),
    ]
    assert gemini_live.connections[0].tool_responses[0]["response"] == {"time": "12:00"}
    assert turn.outcome
    assert turn.outcome.state == {"last_place": "Lagos"}
    assert turn.outcome.user_state == {"city": "Lagos"}
    usage = turn.outcome.usage
    assert (usage.input, usage.output, usage.total) == (30, 7, 37)
    assert turn.outcome.model == "gemini-2.5-flash-native-audio-preview-12-2025"
    assert await run_db(lambda: UserState.objects.get(agent="clerk", key="city").value) == '"Lagos"'


async def test_a_call_is_stored_before_its_tool_runs(agent: Any, gemini_live: GeminiLive) -> None:
    caller = await agent(
        """
    seen = []

    async def look(tool_context: ToolContext) -> dict:
        import asyncio
        from chat.models import SessionEvent
        found = await asyncio.to_thread(lambda: SessionEvent.objects.filter(payload__contains="look").count())
        return {"stored": found}

    root_agent = Agent(name="root_agent", model=MODEL, tools=[look])
    """
    )
    gemini_live.on("Look", [Call("look"), TurnComplete(), AwaitTools(), Spoken("Seen."), TurnComplete()])
    async with caller.calling() as connection:
        connection.hear(speech("Look"))
        turn = await caller.turn()
    [returned] = [each for each in turn.events if each.type == "tool.returned"]
    assert returned.data["result"] == {"stored": 1}


async def test_a_model_may_begin_with_a_call(agent: Any, gemini_live: GeminiLive) -> None:
    caller = await agent(
        """
    def clock() -> dict:
        return {"time": "12:00"}

    root_agent = Agent(name="root_agent", model=MODEL, tools=[clock])
    """
    )
    gemini_live.on(
        QUESTION,
        [
            Message({}),
            Call("clock"),
            TurnComplete(),
            AwaitTools(),
            Heard(QUESTION),
            Spoken("Noon."),
            TurnComplete(),
        ],
    )
    async with caller.calling() as connection:
        connection.hear(speech(QUESTION))
        turn = await caller.turn()
    assert await caller.stored(turn) == [
        ("user", QUESTION),
        ("root_agent", "call clock"),
        ("root_agent", "result clock"),
        ("root_agent", "Noon."),
    ]


async def test_tools_are_limited_and_sync_ones_run_on_threads(
    agent: Any, gemini_live: GeminiLive, settings: Any
) -> None:
    settings.TOOL_SECONDS = 0.2
    caller = await agent(
        """
    import threading, time

    def slow() -> dict:
        time.sleep(1)
        return {}

    def where() -> dict:
        return {"thread": threading.current_thread().name}

    root_agent = Agent(name="root_agent", model=MODEL, tools=[slow, where])
    """
    )
    gemini_live.on(
        "Go",
        [Call("slow"), Call("where"), TurnComplete(), AwaitTools(), Spoken("Done."), TurnComplete()],
    )
    async with caller.calling() as connection:
        connection.hear(speech("Go"))
        turn = await caller.turn()
    slow, where = [each.data for each in turn.events if each.type == "tool.returned"]
    assert "did not answer within 0.2 s" in slow["error"]
    assert where["result"]["thread"].startswith("adk_tool_executor")


async def test_a_transfer_goes_to_the_other_agents_voice(agent: Any, gemini_live: GeminiLive) -> None:
    caller = await agent(
        """
    poet = Agent(name="poet", model=MODEL, description="Writes poems.")
    root_agent = Agent(name="root_agent", model=MODEL, sub_agents=[poet])
    """
    )
    gemini_live.on(
        "A poem", [Spoken("I ask."), Call("transfer_to_agent", {"agent_name": "poet"}), TurnComplete()]
    )
    async with caller.calling() as connection:
        connection.hear(speech("A poem"))
        await caller.until(lambda: len(gemini_live.connections) == 2)
        await caller.turn()
        connection.read("More")
        later = await caller.turn()
    first = caller.turns[0]
    assert [each.data["name"] for each in first.events if each.type == "agent"] == ["poet"]
    assert first.text.startswith("I ask.\n\n")
    stored = await caller.stored(first)
    assert stored[1:4] == [
        ("root_agent", "I ask."),
        ("root_agent", "call transfer_to_agent"),
        ("root_agent", "result transfer_to_agent"),
    ]
    assert stored[4][0] == "poet"
    assert later.text == "You said: More"
    async with caller.calling() as connection:  # the next connection begins with the poet
        caller.type("Again")
        await caller.turn()
    assert 'Your internal name is \\"poet\\"' in json.dumps(gemini_live.connections[-1].setup)


async def test_an_interrupted_turn_keeps_its_heard_words(caller: Caller, gemini_live: GeminiLive) -> None:
    gemini_live.on("Count", [Spoken("One. "), Spoken("Two. "), Spoken("Three."), Sound(900), Hold()])
    caller.hears = lambda text: "One. Two."
    async with caller.calling() as connection:
        connection.hear(speech("Count"))
        await caller.until(lambda: caller.turns and "Three." in caller.turns[0].text)
        connection.hear(speech("Stop"))
        first = await caller.turn(1)
        second = await caller.turn(2)
    assert (first.end, first.text) == ("run.stopped", "One. Two.")
    assert (second.question, second.text, second.end) == ("Stop", "You said: Stop", "run.completed")
    assert len(caller.turns) == 2
    assert await caller.stored(first) == [("user", "Count"), (caller.agent, "One. Two.")]
    async with caller.calling() as connection:
        caller.handle = None
    caller.handle = None
    async with caller.calling() as connection:
        caller.type("And now?")
        await caller.turn()
    assert gemini_live.connections[-1].contents == [
        ("user", "Count"),
        ("model", "One. Two."),
        ("user", "Stop"),
        ("model", "You said: Stop"),
        ("user", "And now?"),
    ]


async def test_an_interruption_during_a_tool_closes_its_call(agent: Any, gemini_live: GeminiLive) -> None:
    caller = await agent(
        """
    import asyncio

    async def slow() -> dict:
        await asyncio.sleep(0.5)
        return {"done": True}

    root_agent = Agent(name="root_agent", model=MODEL, tools=[slow])
    """
    )
    gemini_live.on("Go", [Call("slow"), TurnComplete(), Pause(0.2), Interrupted(), AwaitTools()])
    async with caller.calling() as connection:
        connection.hear(speech("Go"))
        first = await caller.turn(1)
        await caller.until(lambda: gemini_live.connections[0].tool_responses)
        connection.hear(speech("Other"))
        second = await caller.turn(2)
    stored = await caller.stored(first)
    assert [what for _author, what in stored[1:3]] == ["call slow", "result slow"]
    assert second.text == "You said: Other"


async def test_typed_and_spoken_turns_are_one_conversation(
    caller: Caller, gemini_live: GeminiLive, as_alice: Client
) -> None:
    async with caller.calling() as connection:
        caller.type("Typed")
        await caller.turn()
        connection.hear(speech("Spoken"))
        await caller.turn()
    assert [turn.question for turn in caller.turns] == ["Typed", "Spoken"]
    talk = Talk(as_alice)
    talk.conversation = str(caller.conversation.pk)
    await talk.ask("Written")
    assert [text for _role, text in questions_of(gemini_live.requests[-1])] == [
        "Typed",
        "You said: Typed",
        "Spoken",
        "You said: Spoken",
        "Written",
    ]


async def test_history_is_sent_without_a_handle_and_not_with_one(
    caller: Caller, gemini_live: GeminiLive
) -> None:
    async with caller.calling() as connection:
        caller.type("One")
        await caller.turn()
        await caller.until(lambda: len(caller.handles) == 2)
    assert caller.handle
    async with caller.calling() as connection:
        caller.type("Two")
        await caller.turn()
    resumed = gemini_live.connections[1]
    assert resumed.handle == caller.handles[1]
    assert resumed.contents == [("user", "Two")]
    caller.handle = "of-another-time"
    async with caller.calling() as connection:
        connection.hear(speech("Three"))
        turn = await caller.turn()
    assert turn.text == "You said: Three"
    refused, last = gemini_live.connections[-2:]
    assert (refused.handle, last.handle) == ("of-another-time", None)
    assert [text for _role, text in last.contents] == ["One", "You said: One", "Two", "You said: Two"]


@pytest.mark.parametrize("close", [Close(1011, "Deadline expired"), Close(), Close(1000)])
async def test_a_connection_lost_between_two_turns_resumes(
    close: Close, caller: Caller, gemini_live: GeminiLive
) -> None:
    async with caller.calling() as connection:
        caller.type("One")
        await caller.turn()
        await caller.until(lambda: len(caller.handles) == 2)
        gemini_live.send(close)
        await caller.until(lambda: len(gemini_live.connections) == 2)
        connection.hear(speech("Two"))
        turn = await caller.turn()
    assert turn.text == "You said: Two"
    assert gemini_live.connections[1].handle == caller.handles[1]


async def test_the_server_goes_away_after_the_answer(caller: Caller, gemini_live: GeminiLive) -> None:
    gemini_live.on("Long", [Spoken("One. "), GoAway(), Pause(0.3), Spoken("Two."), Sound(20), TurnComplete()])
    async with caller.calling() as connection:
        connection.hear(speech("Long"))
        first = await caller.turn(1)
        await caller.until(lambda: len(gemini_live.connections) == 2)
        connection.hear(speech("More"))
        second = await caller.turn(2)
    assert (first.text, first.end) == ("One. Two.", "run.completed")
    assert second.text == "You said: More"
    assert gemini_live.connections[1].handle


async def test_a_connection_lost_before_the_answer_asks_again(
    caller: Caller, gemini_live: GeminiLive
) -> None:
    gemini_live.on("Again", [Pause(0.1), Close()], [Spoken("Here."), TurnComplete()])
    async with caller.calling():
        caller.type("Again")
        turn = await caller.turn()
    assert (turn.text, turn.end) == ("Here.", "run.completed")
    assert await caller.stored(turn) == [("user", "Again"), (caller.agent, "Here.")]


async def test_a_connection_lost_during_the_answer_fails_the_turn(
    caller: Caller, gemini_live: GeminiLive
) -> None:
    gemini_live.on("Cut", [Spoken("One. "), Sound(20), Pause(0.1), Close()])
    failure = await caller.failure_of("Cut")
    assert failure.code == "unavailable"
    assert await caller.stored(caller.turns[0]) == [("user", "Cut"), (caller.agent, "One. ")]


@pytest.mark.parametrize(
    ("close", "code"),
    [
        (Close(1008, "API key not valid. Please pass a valid API key."), "misconfigured"),
        (Close(1008, "models/x is not found for API version v1alpha"), "misconfigured"),
        (Close(1008, "You exceeded your current quota"), "rate_limited"),
        (Close(1007, "Request contains an invalid argument."), "model_error"),
    ],
)
async def test_the_servers_reason_decides_the_code(
    close: Close, code: str, caller: Caller, gemini_live: GeminiLive
) -> None:
    gemini_live.on("Hello", [Spoken("Hi"), close])
    gemini_live.refuses_handles = True
    assert (await caller.failure_of("Hello")).code == code


async def test_a_transcript_wins_over_text_of_the_same_words(caller: Caller, gemini_live: GeminiLive) -> None:
    gemini_live.on(
        "Both",
        [Thought("Hm."), Text("It is noon."), Spoken("It is "), Spoken("noon."), TurnComplete()],
        [Text("Only "), Text("text."), TurnComplete()],
    )
    async with caller.calling():
        caller.type("Both")
        first = await caller.turn()
        caller.type("Both")
        second = await caller.turn()
    assert first.names() == ["thought", "text", "text"]
    assert (first.text, second.text) == ("It is noon.", "Only text.")


async def test_artifacts_and_files_of_tools_are_shown(agent: Any, gemini_live: GeminiLive) -> None:
    caller = await agent(
        """
    async def note(tool_context: ToolContext) -> dict:
        part = types.Part.from_bytes(data=b"A note.", mime_type="text/plain")
        return {"version": await tool_context.save_artifact("note.txt", part)}

    root_agent = Agent(name="root_agent", model=MODEL, tools=[note])
    """
    )
    answer = [Call("note"), TurnComplete(), AwaitTools(), Spoken("Kept."), TurnComplete()]
    gemini_live.on("Note", answer)
    async with caller.calling() as connection:
        connection.hear(speech("Note"))
        first = await caller.turn()
        connection.hear(speech("Note"))
        second = await caller.turn()
    [shown] = [each.data for each in first.events if each.type == "file"]
    assert (shown["artifact"], shown["version"]) == ("note.txt", 0)
    assert [each.data["version"] for each in second.events if each.type == "file"] == [1]
    runs = await run_db(lambda: list(Artifact.objects.order_by("version").values_list("run", flat=True)))
    assert runs == [first.run.pk, second.run.pk]


async def test_a_confirmation_waits_for_a_person(
    agent: Any, gemini_live: GeminiLive, gemini: Gemini, as_alice: Client
) -> None:
    caller = await agent(
        """
    def transfer_money(amount: int) -> dict:
        return {"sent": amount}

    root_agent = Agent(name="root_agent", model=MODEL,
                       tools=[FunctionTool(transfer_money, require_confirmation=True)])
    """
    )
    gemini_live.on(
        "Pay 5",
        [
            Call("transfer_money", {"amount": 5}),
            TurnComplete(),
            AwaitTools(),
            Spoken("Please decide."),
            TurnComplete(),
        ],
    )
    async with caller.calling() as connection:
        connection.hear(speech("Pay 5"))
        turn = await caller.turn()
    told = gemini_live.connections[0].tool_responses[0]["response"]
    assert told["status"] == "waiting for a person"
    request = await run_db(PersonRequest.objects.get)
    assert (request.kind, request.tool, request.args) == ("confirm", "transfer_money", {"amount": 5})
    assert (await run_db(lambda: type(turn.run).objects.get(pk=turn.run.pk))).finish == "approval"
    assert [what for _author, what in await caller.stored(turn)] == [
        "Pay 5",
        "call transfer_money",
        "call adk_request_confirmation",
        "result transfer_money",
        "Please decide.",
    ]
    gemini_live.on("Pay 5", [Text("It is paid.")])
    talk = Talk(as_alice)
    talk.conversation = str(caller.conversation.pk)
    said = await talk.ask(answers=[{"id": str(request.pk), "decision": "approve"}])
    assert said.named("tool.returned")[-1].json()["result"] == {"sent": 5}
    assert said.text == "It is paid."


async def test_a_tool_that_takes_long_does_not_silence_the_model(agent: Any, gemini_live: GeminiLive) -> None:
    caller = await agent(
        """
    def print_it() -> None:
        \"\"\"Prints, which takes days.\"\"\"

    root_agent = Agent(name="root_agent", model="gemini-3.1-flash-live-preview",
                       tools=[LongRunningFunctionTool(print_it)])
    """
    )
    gemini_live.on("Print", [Call("print_it"), AwaitTools(), Spoken("It takes days."), TurnComplete()])
    async with caller.calling() as connection:
        connection.hear(speech("Print"))
        turn = await caller.turn()
    assert turn.text == "It takes days."
    assert turn.outcome
    assert [each.tool for each in turn.outcome.requests] == ["print_it"]
    assert gemini_live.connections[0].tool_responses[0]["response"]["status"] == "waiting for a person"


async def test_twenty_turns_keep_their_order(caller: Caller, gemini_live: GeminiLive) -> None:
    async with caller.calling() as connection:
        for n in range(20):
            if n % 3:
                connection.hear(speech(f"Question {n}"))
            else:
                caller.type(f"Question {n}")
            turn = await caller.turn(n + 1)
            assert (turn.question, turn.text) == (f"Question {n}", f"You said: Question {n}")
    caller.handle = None
    async with caller.calling():
        caller.type("Last")
        await caller.turn()
    assert [text for _role, text in gemini_live.connections[-1].contents][:4] == [
        "Question 0",
        "You said: Question 0",
        "Question 1",
        "You said: Question 1",
    ]
    assert len(gemini_live.connections[-1].contents) == 41


@pytest.mark.parametrize("at_once", [False, True])
async def test_sound_never_overtakes_a_caption(
    caller: Caller, gemini_live: GeminiLive, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    words = [f"w{n} " for n in range(100)]
    steps = [step for word in words for step in (Spoken(word), Sound(10))]
    gemini_live.on(QUESTION, [*steps, GenerationComplete(), TurnComplete()])
    order: list[str] = []
    take = caller._take

    async def note(event: Any) -> None:
        order.append(type(event).__name__)
        await take(event)

    def take_sound(pcm: bytes) -> bool:
        if at_once and caller.turns:
            order.append("Audio")
            caller.turns[0].audio += len(pcm)
        return at_once and bool(caller.turns)

    monkeypatch.setattr(caller, "_take", note)
    caller.take_sound = take_sound
    async with caller.calling() as connection:
        connection.hear(speech(QUESTION))
        turn = await caller.turn()
    assert turn.text == "".join(words)
    assert turn.audio == 1000 * 48
    answer = [name for name in order if name in ("Shown", "Audio")]
    assert answer == ["Shown", "Audio"] * 100


@pytest.mark.parametrize("model", ["gemini-2.5-flash-native-audio-preview-12-2025", "gemini-3.1-flash-live"])
async def test_sound_is_sent_as_google_genai_sends_it(model: str) -> None:
    sent: list[Any] = []

    class Socket:
        """As far as both use it."""

        state, paused, fragmented_send_waiter = State.OPEN, False, None

        def __init__(self) -> None:
            self.protocol = self

        async def send(self, text: str) -> None:
            self.send_text(text.encode())

        def send_text(self, text: bytes) -> None:
            sent.append(json.loads(text))

        def send_data(self) -> None:
            pass

    client: Any = genai.Client(api_key="x")
    socket: Any = Socket()
    session = AsyncSession(api_client=client._api_client, websocket=socket)
    connection = GeminiLlmConnection(session, api_backend=GoogleLLMVariant.GEMINI_API, model_version=model)
    pcm = bytes(range(256))
    await connection.send_realtime(types.Blob(data=pcm, mime_type=INPUT_MIME))
    path = ShortPath(take=lambda _blob: None)
    path.open(connection, path.take)
    assert path.send(pcm)
    assert sent[0] == sent[1]
    socket.paused = True
    assert not path.send(pcm)


async def test_a_plugin_of_the_agents_author_sees_the_sound(agent: Any, gemini_live: GeminiLive) -> None:
    caller = await agent("""
    from google.adk.apps import App
    from google.adk.plugins import BasePlugin

    class Ears(BasePlugin):
        async def on_event_callback(self, *, invocation_context, event):
            for part in (event.content.parts if event.content else None) or []:
                if part.inline_data:
                    invocation_context.session.state["heard"] = len(part.inline_data.data)
                    Agent.heard = len(part.inline_data.data)

    root_agent = Agent(name="clerk", model=MODEL)
    app = App(name="clerk", root_agent=root_agent, plugins=[Ears(name="ears")])
    """)
    gemini_live.on(QUESTION, [Spoken("Noon."), Sound(100), TurnComplete()])
    async with caller.calling() as connection:
        connection.hear(speech(QUESTION))
        turn = await caller.turn()
    assert turn.audio == 100 * 48
    assert Agent.heard == 100 * 48  # type: ignore[attr-defined]


async def test_a_tool_that_listens_hears_the_microphone(agent: Any, gemini_live: GeminiLive) -> None:
    caller = await agent("""
    from google.adk.agents import LiveRequestQueue

    async def listen(input_stream: LiveRequestQueue):
        "Listens."
        heard = 0
        while heard < 20_000:
            request = await input_stream.get()
            heard += len(request.blob.data) if request.blob else 0
        yield {"heard": heard}

    root_agent = Agent(name="clerk", model=MODEL, tools=[listen])
    """)
    gemini_live.on("Listen", [Call("listen"), TurnComplete(), AwaitTools(), Spoken("I do."), TurnComplete()])
    async with caller.calling() as connection:
        connection.hear(speech("Listen"))
        await caller.turn()
        for _ in range(20):
            connection.hear(bytes(1000))
            await asyncio.sleep(0)  # as from a microphone: what is sent at once must be heard as well
        await caller.until(lambda: "'heard': 20000" in str(gemini_live.connections[-1].tool_responses))


async def test_no_handle_and_no_word_is_in_a_log_record(
    caller: Caller, gemini_live: GeminiLive, caplog: pytest.LogCaptureFixture
) -> None:
    gemini_live.on("Secret question", [Spoken("Secret answer"), Sound(20), GoAway(), TurnComplete()])
    # As config.settings sets the levels with LOG_LEVEL=DEBUG.
    with caplog.at_level("INFO"), caplog.at_level("DEBUG", logger="chat"):
        async with caller.calling() as connection:
            connection.hear(speech("Secret question"))
            await caller.turn()
            await caller.until(lambda: len(gemini_live.connections) == 2)
            gemini_live.send(Close(1011, "Secret reason"))
            await asyncio.sleep(0.2)
    logged = "\n".join(record.getMessage() + str(record.exc_info or "") for record in caplog.records)
    assert "ecret" not in logged
    assert all(handle not in logged for handle in caller.handles)


async def test_a_guardrails_words_are_shown(agent: Any, gemini_live: GeminiLive) -> None:
    caller = await agent(
        """
    from google.adk.models import LlmResponse

    def refuse(callback_context, llm_request):
        if "weapon" in str(llm_request.contents):
            said = types.Content(role="model", parts=[types.Part(text="Not about that.")])
            return LlmResponse(content=said)

    root_agent = Agent(name="root_agent", model=MODEL, before_model_callback=refuse)
    """
    )
    async with caller.calling():
        caller.type("A weapon")
        first = await caller.turn()
        caller.type("A flower")
        second = await caller.turn()
    assert (first.text, second.text) == ("Not about that.", "You said: A flower")
    assert await caller.stored(first) == [("user", "A weapon"), ("root_agent", "Not about that.")]
    assert [text for _role, text in gemini_live.connections[0].contents] == ["A flower"]


async def test_a_tool_that_streams_speaks_to_the_member(agent: Any, gemini_live: GeminiLive) -> None:
    caller = await agent(
        """
    from google.adk.events import Event

    async def watch():
        yield Event(message="I watch.")
        yield {"price": 3}

    root_agent = Agent(name="root_agent", model=MODEL, tools=[watch])
    """
    )
    gemini_live.on(
        "Watch", [Call("watch"), TurnComplete(), AwaitTools(), Pause(0.2), Spoken("Yes."), TurnComplete()]
    )
    async with caller.calling() as connection:
        connection.hear(speech("Watch"))
        turn = await caller.turn()
    assert turn.text == "I watch.\n\nYes."
    told = [each["response"] for each in gemini_live.connections[0].tool_responses]
    assert {"price": 3} in told
    assert any("pending" in each.get("status", "") for each in told)


async def test_audio_before_the_connection_is_open_is_bounded(
    caller: Caller, gemini_live: GeminiLive
) -> None:
    async with caller.calling() as connection:
        for _second in range(60):
            connection.hear(bytes(32_000))
        caller.type("Typed")
        turn = await caller.turn()
    assert turn.text == "You said: Typed"
    assert 480 * 1024 < len(gemini_live.connections[0].audio) <= 512 * 1024


async def test_a_closed_connection_ends_at_once(caller: Caller, gemini_live: GeminiLive) -> None:
    gemini_live.on("Wait", [Hold()])
    loop = asyncio.get_running_loop()
    async with caller.calling() as connection:
        connection.hear(speech("Wait"))
        await caller.until(lambda: gemini_live.calls_for("Wait"))
        began = loop.time()
    assert loop.time() - began < 0.5
    await caller.until(lambda: not gemini_live.connections[0].is_open)
