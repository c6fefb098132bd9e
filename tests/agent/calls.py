"""A call without the engine: a session, its connection, and turns that are stored as real runs."""

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.utils import timezone

from chat import changes, lifecycle
from chat.agent.live.connection import LiveConnection
from chat.agent.live.events import Audio, Handle, Heard, Interrupted, LiveEvent, Shown, TurnComplete
from chat.agent.live.session import LiveOutcome, LiveSession
from chat.agent.live.voices import voice_of
from chat.agent.turn.failure_codes import AgentFailure
from chat.begin import Reservation, begin_run, store_question
from chat.database import run_db
from chat.endings import End
from chat.events import COMPLETED, STOPPED, Event, Fold
from chat.lifecycle import Claim, Outcome
from chat.models import Conversation, Process, Run, SessionEvent

SECONDS = 10


@dataclass
class Turn:
    """A turn as the engine would end it."""

    run: Run
    fold: Fold = field(default_factory=Fold)
    events: list[Event] = field(default_factory=list)
    audio: int = 0  # bytes
    question: str = ""
    end: str = ""
    outcome: LiveOutcome | None = None
    recorded: int = 0

    @property
    def text(self) -> str:
        return self.fold.text

    def names(self) -> list[str]:
        return [event.type for event in self.events]


class Caller:
    """A member who speaks with an agent. ``said`` of an interrupted turn is what ``hears`` returns."""

    def __init__(self, conversation: Conversation, session: LiveSession, process: Process) -> None:
        self.conversation, self.session, self.process = conversation, session, process
        self.agent = conversation.agent
        self.turns: list[Turn] = []
        self.handle: str | None = None
        self.handles: list[str] = []
        self.hears: Callable[[str], str] = lambda text: text
        self.heard_final: list[str] = []
        self.connection: LiveConnection | None = None
        self.take_sound: Callable[[bytes], bool] = lambda _pcm: False  # as LiveConnection has it
        self._current: Turn | None = None
        self._typed = ""
        self._reading: asyncio.Future[None] | None = None
        self._settled: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.session.heard = self._heard

    @classmethod
    async def of(cls, owner: Any, agent: str) -> "Caller":
        def make() -> tuple[Conversation, Process]:
            conversation = Conversation.objects.create(owner=owner, agent=agent, title="A call")
            return conversation, Process.objects.create(host="here", pid=1, boot_id="", version="0")

        conversation, process = await run_db(make)
        return cls(conversation, await run_db(LiveSession.load, conversation.pk), process)

    @asynccontextmanager
    async def calling(self, *, manual: bool = False) -> AsyncGenerator[LiveConnection, None]:
        """Open a connection; its events become turns while the block runs. A failure of it is raised."""
        voice = await asyncio.to_thread(voice_of, self.agent)
        self.connection = LiveConnection(
            self.session, voice, manual=manual, handle=self.handle, take_sound=self.take_sound
        )
        self._reading = reading = asyncio.ensure_future(self._read(self.connection))
        try:
            yield self.connection
        finally:
            self.connection.close()
            await asyncio.wait([reading], timeout=SECONDS)
        await reading

    async def failure_of(self, text: str) -> AgentFailure:
        """Open a connection, type ``text`` and return the failure by which the connection ends."""
        failures: list[AgentFailure] = []
        try:
            async with self.calling():
                self.type(text)
                assert self._reading
                await asyncio.wait([self._reading], timeout=SECONDS)
        except AgentFailure as failure:
            failures.append(failure)
        [failed] = failures
        return failed

    async def until(self, condition: Callable[[], Any], seconds: float = SECONDS) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                if self._reading and self._reading.done():
                    self._reading.result()
                await asyncio.sleep(0.005)

    async def turn(self, number: int = 0) -> Turn:
        """Wait for the end of turn ``number`` (from 1; 0: the next one that ends) and return it."""
        wanted = number or sum(bool(turn.end) for turn in self.turns) + 1
        await self.until(lambda: len(self.turns) >= wanted and self.turns[wanted - 1].end)
        return self.turns[wanted - 1]

    def type(self, text: str) -> None:
        assert self.connection
        self._typed = text
        self.connection.read(text)

    async def _heard(self) -> str:
        return await self._settled

    async def _read(self, connection: LiveConnection) -> None:
        try:
            async for event in connection.events():
                await self._take(event)
        except Exception:
            if self._current:
                await self._end_turn("run.failed")
            raise

    async def _take(self, event: LiveEvent) -> None:
        match event:
            case Handle(value):
                self.handle = value
                self.handles.append(value)
            case Heard(text, final):
                turn = await self._begin()
                turn.question = text
                if final:
                    self.heard_final.append(text)
            case Audio(pcm):
                (await self._begin()).audio += len(pcm)
            case Shown(found):
                turn = await self._begin()
                turn.events += found
                for each in found:
                    turn.fold.add(each)
            case Interrupted():
                if self._current:
                    await self._end_turn(STOPPED)
            case TurnComplete():
                await self._begin()
                await self._end_turn(COMPLETED)

    async def _begin(self) -> Turn:
        if self._current:
            return self._current
        typed, self._typed = self._typed, ""
        run = await run_db(self._store_run, typed)
        self._current = turn = Turn(run, question=typed)
        turn.fold.agent = self.agent

        async def record(payload: str, *, can_wait: bool = False) -> None:
            turn.recorded += 1
            row = {"run": run, "position": turn.recorded, "payload": payload}
            await run_db(lambda: SessionEvent.objects.create(**row))

        self.session.begin_turn(run, record)
        self.turns.append(turn)
        return turn

    @transaction.atomic
    def _store_run(self, text: str) -> Run:
        conversation = Conversation.objects.get(pk=self.conversation.pk)
        prompt = store_question(conversation, conversation.head_id, text, None, timezone.now())
        change = changes.announce(conversation.owner_id)
        fields = Reservation(uuid.uuid4(), self.process.pk).fields
        return begin_run(conversation, prompt, timezone.now(), change, mode=Run.Mode.LIVE, **fields)

    async def _end_turn(self, end: str) -> None:
        turn = self._current
        assert turn
        self._current = None
        said = self.hears(turn.text) if end == STOPPED else turn.text
        if said != turn.text:
            turn.fold.add(Event("replace", {"text": said, "keep": len(said)}))
        turn.outcome = outcome = self.session.end_turn(turn.question, said)
        await run_db(self._store_end, turn, outcome, end)
        if end == STOPPED:
            self._settled.set_result(said)
            self._settled = asyncio.get_running_loop().create_future()
        turn.end = end

    @transaction.atomic
    def _store_end(self, turn: Turn, outcome: LiveOutcome, end: str) -> None:
        if turn.question:
            content = {"role": "user", "parts": [{"text": turn.question}]}
            said = {"author": "user", "invocationId": outcome.invocation_id, "content": content}
            SessionEvent.objects.create(run=turn.run, position=0, payload=json.dumps(said))
        for n, payload in enumerate(outcome.payloads):
            SessionEvent.objects.create(run=turn.run, position=turn.recorded + 1 + n, payload=payload)
        finish = "approval" if outcome.requests else outcome.finish if end == COMPLETED else ""
        stored = Outcome(
            End(end, "unavailable" if end == "run.failed" else "", finish),
            usage=outcome.usage,
            model=outcome.model,
            invocation_id=outcome.invocation_id,
            state=outcome.state,
            user_state=outcome.user_state,
            app_state=outcome.app_state,
            requests=outcome.requests,
        )
        turn.run.prompt.text = turn.question
        turn.run.prompt.save(update_fields=["text"])
        lifecycle.end(Claim(turn.run.pk, 1), stored, turn.fold, [], "")

    # --- what is stored ---------------------------------------------------------------------------

    async def stored(self, turn: Turn) -> list[tuple[str, str]]:
        """Return author and contents of the run's stored events, in order."""
        rows = await run_db(
            lambda: list(turn.run.session_events.order_by("position").values_list("payload", flat=True))
        )
        return [described(row) for row in rows]


def described(payload: str) -> tuple[str, str]:
    event = json.loads(payload)
    parts = (event.get("content") or {}).get("parts") or []
    return event["author"], " ".join(_word(part) for part in parts)


def _word(part: dict[str, Any]) -> str:
    if "functionCall" in part:
        return f"call {part['functionCall']['name']}"
    if "functionResponse" in part:
        return f"result {part['functionResponse']['name']}"
    return str(part.get("text", ""))


CallerOf = Callable[..., Awaitable[Caller]]
