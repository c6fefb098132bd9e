"""ADK's session of a call, across its connections and turns: what is stored of it, and in which run.

A stored event is as one of a written turn: calls, results, state and files as ADK reports them, and words as
plain text. ADK's own events of transcripts, usage, turns and resumption stay in memory.
"""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from google.adk.events import Event as AdkEvent
from google.adk.sessions import Session
from google.adk.workflow import BaseNode
from google.genai import types

from chat import events
from chat.agent.memory import context
from chat.agent.memory.model_calls import ModelCalls
from chat.agent.memory.payload import encode_event, invocation_of, pending_ids_of
from chat.agent.memory.requests import requests_in
from chat.agent.memory.run_files import RunFiles
from chat.agent.memory.session_data import Record, SessionData, stored_delta
from chat.agent.memory.session_service import ConversationSessionService
from chat.agent.turn.interruption import INTERRUPTED_RESULT, open_calls
from chat.agent.turn.translation import EventTranslator
from chat.events import Usage
from chat.models import Conversation, PersonRequest, Run


class CallData(SessionData):
    """Data of a session whose run changes with each turn, while ADK keeps one session object."""

    __slots__ = ()

    @property
    def marker(self) -> str:
        return f"call:{self.revision}"


class LiveSessionService(ConversationSessionService):
    """As that of written runs, but an event of a call is stored only if its turn needs it later."""

    async def append_event(self, session: Session, event: AdkEvent) -> AdkEvent:
        if event.partial or not isinstance(self._attached.get(session.id), CallData):
            return await super().append_event(session, event)
        if is_stored(event):
            plain = event.model_copy(update={"live_session_id": None})
            return await super().append_event(session, plain)
        if _is_context(event):  # for an agent that the conversation is transferred to
            return self._commit_event_to_session(session, event)
        return event


def is_stored(event: AdkEvent) -> bool:
    """Return whether the event is one of those that a written turn stores too, except for plain words."""
    actions = event.actions
    if actions.state_delta or actions.artifact_delta or actions.compaction:
        return True
    if event.author == "user" and not event.get_function_responses():
        return False  # typed words: the run stores them as its question
    parts = (event.content.parts if event.content else None) or ()
    return any(not (part.text or part.inline_data) for part in parts)


def _is_context(event: AdkEvent) -> bool:
    return bool(event.content or event.input_transcription or event.output_transcription)


live_session_service = LiveSessionService()


@dataclass(frozen=True, slots=True)
class LiveOutcome:
    """Result of a turn, which the end of its run stores besides the log: see ``lifecycle.Outcome``."""

    payloads: list[str]  # to store after those that were recorded, in this order
    state: dict[str, Any]
    user_state: dict[str, Any]
    app_state: dict[str, Any]
    usage: Usage
    model: str
    invocation_id: str
    finish: str
    requests: list[PersonRequest]  # open ones: then the run ends as completed with finish "approval"
    used_tools: bool


@dataclass(slots=True)
class _Turn:
    """The run that stores the events of now."""

    run: Run
    record: Record
    recorded: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)  # of the model, in recorded events


class LiveSession:
    """ADK's session of a call. One connection uses it at a time: the next one waits for its end."""

    def __init__(self, data: CallData) -> None:
        self.data = data
        # Set by the call: returns the text of the reply that was heard, once an interruption is settled.
        self.heard: Callable[[], Awaitable[str]] | None = None
        self.calls = ModelCalls(Usage())
        self.files = RunFiles(int(data.user_id), uuid.UUID(data.conversation_id), None)
        self.root: BaseNode | None = None  # of the connection's agents
        self.speaker = ""  # ADK's name of the agent whose words came last
        self.invocation_id = ""
        self.connection_over: asyncio.Event | None = None  # of the newest connection
        self._turn: _Turn | None = None
        self._translator: EventTranslator | None = None
        self._held: list[str] = []  # changes of the state that came between two turns
        self._interrupted: set[str] = set()  # ids of calls whose turn ended before their result

    @classmethod
    def load(cls, conversation_id: uuid.UUID) -> "LiveSession":
        """Read the session of a conversation. Call it on a thread. Raises Conversation.DoesNotExist."""
        conversation = Conversation.objects.get(pk=conversation_id, deleted_at=None)
        session = cls(
            CallData(
                run_id=conversation.pk,  # of none: until a turn begins, nothing is recorded
                conversation_id=str(conversation.pk),
                user_id=str(conversation.owner_id),
                agent=conversation.agent,
                prompt="",
                answers=[],
                past=[],
                state={},
                user_state={},
                app_state={},
            )
        )
        session._read(conversation)
        return session

    def reload(self) -> None:
        """Read what was stored meanwhile: earlier turns, in writing or in this call. Call it on a thread."""
        self._read(Conversation.objects.get(pk=self.data.conversation_id))

    def _read(self, conversation: Conversation) -> None:
        data = self.data
        past = context.past_before(conversation.head_id, context.marks_of_member(conversation.owner_id))
        recorded = self._turn.recorded if self._turn else []
        data.past, data.state = context.close_open_calls(past.payloads), past.state
        data.user_state = context.user_state(conversation.owner_id, conversation.agent)
        data.app_state = context.app_state(conversation.agent)
        data.updated_at = conversation.updated_at.timestamp()
        data.own_payloads = []
        for payload in [*recorded, *self._held]:  # what is in no ended run yet
            data.add_stored_event(payload, stored_delta(payload))

    # --- turns ------------------------------------------------------------------------------------

    @property
    def has_turn(self) -> bool:
        return self._turn is not None

    def begin_turn(self, run: Run, record: Record) -> None:
        """Let ``run`` store what ADK does from now on, by its ``record``. Its prompt must be loaded."""
        data = self.data
        data.run_id, data.attempt, data.prompt_parent = run.pk, run.attempt, run.prompt.parent_id
        data.own_payloads, data.user_delta, data.app_delta = list(self._held), {}, {}
        for payload in self._held:
            delta = stored_delta(payload)
            data.user_delta.update(delta["user"])
            data.app_delta.update(delta["app"])
        self.files.begin(run.pk, attempt=run.attempt, parent_id=run.prompt.parent_id)
        self.calls.counter = None  # MODEL_CALLS bounds a turn
        self._turn = _Turn(run, record)

    def end_turn(self, question: str, said: str) -> LiveOutcome:
        """End the turn and return what its run must still store.

        ``said`` is the reply's text as the member knows it: all of it, or as much as was heard.
        """
        assert self._turn
        turn, data, translator = self._turn, self.data, self.translator
        payloads = [*self._held, *self._closing(turn, said)]
        everything = turn.recorded + payloads
        self._turn, self._translator, self._held = None, None, []
        usage, self.calls.usage = self.calls.usage, Usage()
        data.past = [*data.past, *self._question(question), *everything]
        data.own_payloads = []
        return LiveOutcome(
            payloads=payloads,
            state=dict(data.state),
            user_state=dict(data.user_delta),
            app_state=dict(data.app_delta),
            usage=usage,
            model=translator.model,
            invocation_id=invocation_of(everything) or self.invocation_id,
            finish=translator.finish,
            requests=requests_in(everything),
            used_tools=translator.used_tools,
        )

    def _closing(self, turn: _Turn, said: str) -> list[str]:
        """Return the events of interrupted calls, and of the words that no recorded event has."""
        found = []
        if calls := open_calls(turn.recorded):
            self._interrupted |= {call.get("id") or "" for call in calls}
            results = [
                types.FunctionResponse(id=call.get("id"), name=call["name"], response=INTERRUPTED_RESULT)
                for call in calls
            ]
            parts = [types.Part(function_response=result) for result in results]
            found.append(self._event(types.Content(role="user", parts=parts)))
        if tail := unrecorded(said, turn.words):
            found.append(self._event(types.Content(role="model", parts=[types.Part(text=tail)])))
        return found

    def _event(self, content: types.Content) -> str:
        author = self.speaker or "model"
        return encode_event(AdkEvent(author=author, invocation_id=self.invocation_id, content=content))

    def _question(self, text: str) -> list[str]:
        if not text.strip():
            return []
        content = types.Content(role="user", parts=[types.Part(text=text)])
        return [encode_event(AdkEvent(author="user", invocation_id=self.invocation_id, content=content))]

    # --- what a connection does -------------------------------------------------------------------

    @property
    def translator(self) -> EventTranslator:
        """The translator of the current turn, or of the one that begins."""
        if self._translator is None:
            self._translator = EventTranslator(self.data, files=self.files)
            if self.root:
                self._translator.begin(self.root)
        return self._translator

    def needs_turn(self, payload: str) -> bool:
        """Return whether the event belongs to a turn: a change of the state alone waits for the next one."""
        return bool(json.loads(payload).get("content"))

    def is_late(self, payload: str) -> bool:
        """Return whether the event has results of calls that ended with an earlier turn."""
        content = json.loads(payload).get("content") or {}
        found = [
            part["functionResponse"] for part in content.get("parts") or () if "functionResponse" in part
        ]
        return bool(found) and all(result.get("id") in self._interrupted for result in found)

    def has_interrupted(self, call_id: str) -> bool:
        """Return whether the turn of the call ended before its result."""
        return call_id in self._interrupted

    async def record_words(self, text: str) -> None:
        """Store words of the model that come before a call, without waiting for the commit."""
        assert self._turn
        self._turn.words.append(text)
        payload = self._event(types.Content(role="model", parts=[types.Part(text=text)]))
        await self._record(payload, can_wait=True)

    async def record(self, payload: str) -> None:
        """Store an event of ADK in the run of the current turn; between two turns, with the next one."""
        if self._turn is None:
            self._held.append(payload)
            return
        held, self._held = self._held, []
        for each in held:
            await self._record(each, can_wait=True)
        await self._record(payload, can_wait=False)

    async def _record(self, payload: str, *, can_wait: bool) -> None:
        assert self._turn
        self._turn.recorded.append(payload)
        await self._turn.record(payload, can_wait=can_wait)

    def waits_for_person(self) -> bool:
        """Return whether a call of this turn waits for a person."""
        return any(pending_ids_of(payload) for payload in (self._turn.recorded if self._turn else ()))


def unrecorded(said: str, words: list[str]) -> str:
    """Return what of the reply's text comes after ``words``, which are stored in this order."""
    rest = said
    for text in words:
        if not rest.startswith(text):
            if text.startswith(rest):  # heard only in part, and stored as a whole
                return ""
            continue
        rest = rest[len(text) :].removeprefix(events.SEPARATOR)
    return rest if rest.strip() else ""


# Set for the tasks of a connection.
current_session: ContextVar[LiveSession | None] = ContextVar("live_session", default=None)
