"""A scripted model that speaks, in place of chat.agent.live, and the client that listens to it."""

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any

from google.adk.events import Event as AdkEvent
from google.genai import types

from chat import events
from chat.agent.live.events import Audio, Heard, Interrupted, LiveEvent, TurnComplete
from chat.agent.memory.payload import encode_event
from chat.calls import keeping
from chat.calls.models import LiveCall
from chat.database import run_db
from chat.events import Usage
from chat.live.call import Call, open_call
from chat.models import Conversation, Message, Run, RunEvent
from chat.runs.supervisor import supervisor
from tests.live.context import context_of
from tests.support.waiting import auntil

VOICE = "agent"


@dataclass
class ScriptedOutcome:
    """Result of a scripted session for a turn that has ended."""

    payloads: list[str]
    invocation_id: str
    state: dict[str, Any] = field(default_factory=dict)
    user_state: dict[str, Any] = field(default_factory=dict)
    app_state: dict[str, Any] = field(default_factory=dict)
    usage: Usage = field(default_factory=lambda: Usage(input=3, output=5, total=8, calls=1))
    model: str = "scripted-live"
    finish: str = "stop"
    requests: list[Any] = field(default_factory=list)
    used_tools: bool = False


class ScriptedSession:
    """The session of a call, with what the model of the newest connection was told."""

    def __init__(self, conversation: uuid.UUID) -> None:
        self.conversation = conversation
        self.told: list[str] = []
        self.heard: Any = None
        self.run: Run | None = None
        self.record: Any = None

    @classmethod
    def load(cls, conversation: uuid.UUID) -> "ScriptedSession":
        return cls(conversation)

    def reload(self) -> None:
        self.told = context_of(self.conversation)

    def begin_turn(self, run: Run, record: Any) -> None:
        self.run, self.record = run, record

    def end_turn(self, question: str, said: str) -> ScriptedOutcome:
        assert self.run
        invocation = f"e-{self.run.pk}"
        self.run = None
        content = types.Content(role="model", parts=[types.Part(text=said)])
        event = AdkEvent(author=VOICE, invocation_id=invocation, content=content)
        return ScriptedOutcome([encode_event(event)] if said.strip() else [], invocation)


class ScriptedConnection:
    """A connection whose events the test sends: sound at once if nothing waits, as LiveConnection does."""

    def __init__(
        self,
        model: "Model",
        session: ScriptedSession,
        *,
        manual: bool,
        handle: str | None,
        take_sound: Callable[[bytes], bool],
    ) -> None:
        self.model, self.session, self.manual, self.handle = model, session, manual, handle
        self.take_sound = take_sound
        self.has_yielded_all = False
        self.heard_bytes = 0
        self.wishes: list[str] = []
        self._sent: asyncio.Queue[LiveEvent | Exception | None] = asyncio.Queue()

    async def events(self) -> AsyncGenerator[LiveEvent, None]:
        await run_db(self.session.reload)
        while True:
            self.has_yielded_all = self._sent.empty()
            event = await self._sent.get()
            self.has_yielded_all = False
            if event is None:
                return
            if isinstance(event, Exception):
                raise event
            yield event
            self.model.taken += 1

    def send(self, *sent: LiveEvent | Exception | None) -> None:
        for event in sent:
            self.model.sent += event is not None and not isinstance(event, Exception)
            is_free = self.has_yielded_all and self._sent.empty()
            if is_free and isinstance(event, Audio) and self.take_sound(event.pcm):
                self.model.taken += 1
            else:
                self._sent.put_nowait(event)

    def hear(self, pcm: bytes) -> None:
        self.heard_bytes += len(pcm)

    def read(self, text: str) -> None:
        self.wishes.append(f"read {text}")
        self.model.on_text(self, text)

    def start(self) -> None:
        self.wishes.append("start")

    def end(self) -> None:
        self.wishes.append("end")

    def mute(self) -> None:
        self.wishes.append("mute")

    def interrupt(self) -> None:
        self.wishes.append("interrupt")
        if self.model.obeys:
            asyncio.get_running_loop().create_task(self.interrupted())

    async def interrupted(self) -> None:
        """Behave as the cascade does: ask for what was heard, then say so."""
        self.model.kept.append(await self.session.heard())
        self.send(Interrupted())

    def close(self) -> None:
        self.wishes.append("close")
        self._sent.put_nowait(None)


class Model:
    """All connections that the call has opened; the newest one is the open one."""

    def __init__(self) -> None:
        self.connections: list[ScriptedConnection] = []
        self.kind = "cascade"
        self.obeys = True
        self.sent = self.taken = 0
        self.kept: list[str] = []  # what was heard of each interrupted answer, as the model was told
        self.on_text: Callable[[ScriptedConnection, str], None] = lambda connection, text: None

    def open(self, session: Any, voice: Any, **options: Any) -> ScriptedConnection:
        self.connections.append(ScriptedConnection(self, session, **options))
        return self.connections[-1]

    @property
    def connection(self) -> ScriptedConnection:
        return self.connections[-1]

    async def say(self, *sent: LiveEvent | Exception | None) -> None:
        """Send events, and return when the call has taken them."""
        self.connection.send(*sent)
        await auntil(lambda: self.taken >= self.sent, within=10)


class Listener:
    """The client of a call. It reports what it has played if it is told to."""

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []
        self.audio = 0  # bytes
        self.on_interrupted: Callable[[], None] = lambda: None

    def send_audio(self, pcm: bytes) -> None:
        self.audio += len(pcm)

    def send(self, frame: dict[str, Any]) -> None:
        self.frames.append(frame)
        if frame["type"] == "interrupted":
            self.on_interrupted()

    def named(self, kind: str) -> list[dict[str, Any]]:
        return [frame for frame in self.frames if frame["type"] == kind]


@dataclass
class Talk:
    """A call in a new conversation of a member, with its model and its client."""

    member: Any
    model: Model
    listener: Listener
    conversation: uuid.UUID
    call: Call

    async def open_connection(self) -> None:
        """Let the microphone open a connection."""
        before = len(self.model.connections)
        self.call.hear(b"\0\0" * 160)
        await auntil(lambda: len(self.model.connections) > before)

    async def answered(self, *sent: LiveEvent) -> None:
        await self.model.say(*sent, TurnComplete())

    async def ask_aloud(self, words: str, *answer: LiveEvent) -> None:
        """Speak a question, and let the model answer it to the end."""
        if self.call._connection is None:
            await self.open_connection()
        await self.model.say(Heard(words[: len(words) // 2], False), Heard(words, True))
        await self.answered(*answer)

    async def hang_up(self) -> int:
        self.call.detach(self.listener, hung_up=True)
        return await self.call.run()


async def open_talk(member: Any, model: Model, title: str = "") -> Talk:
    """Open a call of the member in a new conversation."""
    conversation = await Conversation.objects.acreate(owner=member, agent="chat_assistant", title=title)
    return await talk_in(conversation.pk, member, model)


async def talk_in(conversation: uuid.UUID, member: Any, model: Model, call: uuid.UUID | None = None) -> Talk:
    assert supervisor.id
    row: LiveCall = await run_db(keeping.admit, member, conversation, supervisor.id, call=call)
    listener = Listener()
    opened = await open_call(member, row, listener)
    return Talk(member, model, listener, conversation, opened)


async def turns_of(conversation: uuid.UUID) -> list[tuple[str, str, str, str]]:
    """Return each turn in order: question, status, code and reply's text."""
    found = Run.objects.filter(conversation=conversation).order_by("created_at")
    return [
        (run.prompt.text, run.status, run.code, run.reply.text if run.reply else "")
        async for run in found.select_related("prompt", "reply")
    ]


async def heard_events(run: uuid.UUID | str) -> list[dict[str, Any]]:
    rows = RunEvent.objects.filter(run=uuid.UUID(str(run)), type=events.HEARD).order_by("seq")
    return [json.loads(row.data) async for row in rows]


async def texts_of(conversation: uuid.UUID) -> list[str]:
    """Return the texts of the active branch, in order."""
    head = await Conversation.objects.values_list("head", flat=True).aget(pk=conversation)
    branch = await run_db(lambda: Message.objects.branch(head, limit=10_000))
    return [message.text for message in branch]
