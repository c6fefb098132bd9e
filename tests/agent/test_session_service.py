"""ADK's contract of a session service, checked on ours and on ADK's in-memory service.

Ours writes inside a real run: created by ``actions.send_message``, claimed, its turn loaded and
attached, its events recorded by the journal, and ended by ``lifecycle.end``. The order of the
checks is that of ADK's contract: keys, creation, equality, state, ``temp:``, partial events, the
whole event, order and windows, time and lists, staleness, deletion, odd values, shared scopes.
Where the two differ and ADK's way would be possible, the check is a strict xfail with a reason.

Left out, because sessions are conversations:

- one id for sessions of two users: the id of a conversation is unique in the installation, so
  ``create_session`` refuses it (checked below, only for ours)
- ids of any form: they are UUIDs
- initial state of the session's own scope: a conversation begins empty (``app:`` and ``user:`` are
  accepted). It would not survive ADK's rewind either, which replays the deltas of events
- appending at any time: only a run appends, and one conversation has one run at a time
- shared state seen by others immediately: a run's deltas become visible when it has ended
- ``last_update_time`` of an event outside its run: it is the conversation's then
- deletion of the rows: a deleted conversation is hidden, and its rows are kept for retention
- the same event appended twice is stored once: only ADK's in-memory service does that, and no
  caller of ours repeats an append
"""

import asyncio
import contextlib
import copy
import math
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from google.adk.errors._stale_session_error import StaleSessionError
from google.adk.errors.already_exists_error import AlreadyExistsError
from google.adk.errors.session_not_found_error import SessionNotFoundError
from google.adk.events import Event, EventActions
from google.adk.events.event import NodeInfo
from google.adk.events.event_actions import EventCompaction
from google.adk.events.ui_widget import UiWidget
from google.adk.models.cache_metadata import CacheMetadata
from google.adk.sessions import BaseSessionService, InMemorySessionService, Session
from google.adk.sessions.base_session_service import GetSessionConfig
from google.adk.tools.tool_confirmation import ToolConfirmation
from google.genai import types

from chat import events, lifecycle
from chat.actions import Ask, send_message
from chat.agent.memory import session_service
from chat.agent.memory.context import load_session
from chat.agent.memory.session_data import SessionData
from chat.agent.memory.session_service import ConversationSessionService
from chat.database import run_db
from chat.endings import End
from chat.events import Fold
from chat.lifecycle import Outcome
from chat.models import AppState, Process, SessionEvent, UserState
from chat.runs.journal import Journal, RunWriter

APP = "conformance"
OURS, IN_MEMORY = "conversations", "in memory"


class Store(ABC):
    """A session service, with the steps that prepare a session for appends."""

    service: BaseSessionService
    alice: str
    bob: str

    @abstractmethod
    async def begin(self, session_id: str, user: str) -> None: ...

    @abstractmethod
    async def end(self, session_id: str) -> None: ...

    async def create(self, user: str | None = None, **fields: Any) -> Session:
        return await self.service.create_session(app_name=APP, user_id=user or self.alice, **fields)

    async def load(self, session_id: str, user: str | None = None, **config: Any) -> Session:
        found = await self.service.get_session(
            app_name=APP,
            user_id=user or self.alice,
            session_id=session_id,
            config=GetSessionConfig(**config) if config else None,
        )
        assert found is not None
        return found

    async def open(self, user: str | None = None) -> Session:
        """Create a session that accepts appends."""
        session = await self.create(user)
        await self.begin(session.id, user or self.alice)
        return await self.load(session.id, user)

    async def append(self, session: Session, **state: Any) -> Event:
        """Append an event with this state delta (``a__b`` for ``a:b``)."""
        delta = {key.replace("__", ":"): value for key, value in state.items()}
        return await self.service.append_event(session, event(actions=EventActions(state_delta=delta)))

    async def listed(self, user: str | None = None) -> list[Session]:
        return (await self.service.list_sessions(app_name=APP, user_id=user)).sessions


class InMemory(Store):
    def __init__(self) -> None:
        self.service = InMemorySessionService()
        self.alice, self.bob = "1", "2"

    async def begin(self, session_id: str, user: str) -> None:
        pass

    async def end(self, session_id: str) -> None:
        pass


class Conversations(Store):
    def __init__(self, alice: Any, bob: Any) -> None:
        self.service: ConversationSessionService = ConversationSessionService()
        self.users = {str(user.pk): user for user in (alice, bob)}
        self.alice, self.bob = self.users
        self.journal = Journal()
        self.turns: dict[str, SessionData] = {}
        self.runs: dict[str, tuple[lifecycle.Claim, RunWriter, contextlib.ExitStack]] = {}

    async def begin(self, session_id: str, user: str) -> None:
        def claim() -> tuple[lifecycle.Claim, SessionData]:
            ask = Ask(query="question", conversation=uuid.UUID(session_id))
            run_id = send_message(self.users[user], ask, agents=[APP]).pk
            process = Process.objects.create(host="here", pid=1, boot_id="", version="0")
            claimed = lifecycle.claim(run_id, process.pk)
            assert claimed is not None
            return claimed[0], load_session(claimed[1])

        claimed, turn = await run_db(claim)
        pen = self.journal.open(claimed, 1)
        turn.record = pen.record
        attached = contextlib.ExitStack()
        attached.enter_context(self.service.attached(turn))
        self.turns[session_id], self.runs[session_id] = turn, (claimed, pen, attached)

    async def end(self, session_id: str) -> None:
        claimed, pen, attached = self.runs.pop(session_id)
        turn = self.turns.pop(session_id)
        attached.close()
        rest, payloads = await pen.close()
        outcome = Outcome(
            End(events.COMPLETED, finish="stop"),
            session_events=payloads,
            state=turn.state,
            user_state=turn.user_delta,
            app_state=turn.app_delta,
        )
        assert await run_db(lifecycle.end, claimed, outcome, Fold([events.text("answer")]), rest)

    def elsewhere(self) -> "Conversations":
        """Return a store on the same tables as another process would have it."""
        other = copy.copy(self)
        other.service = ConversationSessionService()
        return other


@pytest.fixture
def members(request: pytest.FixtureRequest) -> Any:
    """Return alice and bob if the sessions are conversations."""
    if request.param == OURS:
        return request.getfixturevalue("alice"), request.getfixturevalue("bob")
    return None


@pytest.fixture
async def store(members: Any) -> AsyncIterator[Store]:
    if members is None:
        yield InMemory()
        return
    conversations = Conversations(*members)
    writing = asyncio.ensure_future(conversations.journal.run())
    yield conversations
    for session_id in list(conversations.runs):
        await conversations.end(session_id)
    writing.cancel()


def ours(*marks: Any) -> Any:
    return pytest.param(OURS, marks=[pytest.mark.django_db(transaction=True), *marks])


def both(*, in_memory: str = "") -> Any:
    """Run the test on both services; ``in_memory`` is the reason why ADK's own differs."""
    marks = [pytest.mark.xfail(strict=True, reason=in_memory)] if in_memory else []
    asked = [ours(), pytest.param(IN_MEMORY, marks=marks)]
    return pytest.mark.parametrize("members", asked, indirect=True)


only_ours = pytest.mark.parametrize("members", [ours()], indirect=True)


def event(**fields: Any) -> Event:
    return Event(**{"author": "agent", "invocation_id": "invocation"} | fields)


def said(text: str, **fields: Any) -> Event:
    return event(content=types.Content(role="model", parts=[types.Part(text=text)]), **fields)


def text_of(stored: Event) -> str:
    assert stored.content and stored.content.parts
    return "".join(part.text or "" for part in stored.content.parts)


# --- 1. keys --------------------------------------------------------------------------------------


@both()
async def test_a_session_is_found_by_its_app_its_user_and_its_id(store: Store) -> None:
    session = await store.create()
    for app, user, session_id in (
        ("another", store.alice, session.id),
        (APP, store.bob, session.id),
        (APP, store.alice, str(uuid.uuid4())),
        (APP, "nobody", session.id),
        (APP, store.alice, "no id of ours"),
    ):
        assert await store.service.get_session(app_name=app, user_id=user, session_id=session_id) is None
    assert (await store.load(session.id)).id == session.id


@both()
async def test_a_session_being_written_is_not_found_by_another_app_or_user(store: Store) -> None:
    session = await store.open()
    for app, user in ((APP, store.bob), ("another", store.alice)):
        assert await store.service.get_session(app_name=app, user_id=user, session_id=session.id) is None


@only_ours
async def test_the_id_of_another_members_conversation_cannot_be_taken(store: Store) -> None:
    session = await store.create(store.bob)
    with pytest.raises(AlreadyExistsError):
        await store.create(store.alice, session_id=session.id)
    assert await store.listed(store.alice) == []


# --- 2. creation ----------------------------------------------------------------------------------


@both()
async def test_an_id_is_generated_if_none_is_given(store: Store) -> None:
    first, second = await store.create(), await store.create(session_id=" \n")
    assert first.id.strip() and second.id.strip() and first.id != second.id


@both()
async def test_white_space_around_an_id_is_stripped(store: Store) -> None:
    wanted = str(uuid.uuid4())
    assert (await store.create(session_id=f" {wanted}\n")).id == wanted
    assert (await store.load(f"{wanted} ")).id == wanted


@both()
async def test_an_id_can_be_used_once(store: Store) -> None:
    session = await store.create()
    with pytest.raises(AlreadyExistsError):
        await store.create(session_id=session.id)


@both()
async def test_one_of_many_concurrent_creations_with_one_id_succeeds(store: Store) -> None:
    wanted = str(uuid.uuid4())
    tries = [store.create(session_id=wanted) for _ in range(8)]
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(result, Session) for result in results) == 1
    assert sum(isinstance(result, AlreadyExistsError) for result in results) == 7


@both()
async def test_initial_state_is_split_into_scopes_and_read_back_merged(store: Store) -> None:
    state = {"app:a": 1, "user:b": {"c": None}, "temp:d": 3}
    first = await store.create(state=state)
    assert first.state == {"app:a": 1, "user:b": {"c": None}}
    assert (await store.create(store.alice)).state == {"app:a": 1, "user:b": {"c": None}}
    assert (await store.create(store.bob)).state == {"app:a": 1}


@both()
async def test_a_refused_creation_stores_no_state(store: Store) -> None:
    session = await store.create()
    with pytest.raises(AlreadyExistsError):
        await store.create(session_id=session.id, state={"user:a": 1, "app:b": 2})
    assert (await store.load(session.id)).state == {}


@only_ours
@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"session_id": "my-session"}, "a UUID"),
        ({"user": "999999"}, "a User"),
        ({"user": "alice"}, "a User"),
        ({"user": "9" * 30}, "a User"),
        ({"state": {"a": 1}}, "without state of its own"),
    ],
)
async def test_a_session_that_cannot_be_a_conversation_is_refused_with_a_reason(
    store: Store, fields: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        await store.create(**fields)
    assert await store.listed() == []


# --- 3. equality ----------------------------------------------------------------------------------


@both()
async def test_a_created_session_equals_the_session_read(store: Store) -> None:
    session = await store.create(state={"app:a": 1})
    assert await store.load(session.id) == session


@both()
async def test_an_appended_session_equals_the_session_read(store: Store) -> None:
    session = await store.open()
    await store.append(session, a=1, user__b=2, app__c=3)
    await store.service.append_event(session, said("hello"))
    assert await store.load(session.id) == session


@both()
async def test_reading_a_session_returns_a_copy(store: Store) -> None:
    session = await store.open()
    await store.append(session, own={"a": [1]}, user__theirs={"a": [1]}, app__all={"a": [1]})
    read = await store.load(session.id)
    for key in ("own", "user:theirs", "app:all"):
        read.state[key]["a"].append(2)
    read.events.clear()
    again = await store.load(session.id)
    assert again.state == {"own": {"a": [1]}, "user:theirs": {"a": [1]}, "app:all": {"a": [1]}}
    assert len(again.events) == 1


# --- 4. state -------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "user:", "app:"])
@both()
async def test_a_dict_is_replaced_and_not_merged(store: Store, prefix: str) -> None:
    session = await store.open()
    for value in ({"a": 1, "b": 2}, {"a": 9}):
        await store.service.append_event(
            session, event(actions=EventActions(state_delta={prefix + "key": value}))
        )
    assert session.state[prefix + "key"] == {"a": 9}
    assert (await store.load(session.id)).state[prefix + "key"] == {"a": 9}
    await store.end(session.id)
    assert (await store.load(session.id)).state[prefix + "key"] == {"a": 9}


@pytest.mark.parametrize("prefix", ["", "user:", "app:"])
@both()
async def test_none_is_stored_as_a_value_and_deletes_no_key(store: Store, prefix: str) -> None:
    session = await store.open()
    for value in (1, None):
        await store.service.append_event(
            session, event(actions=EventActions(state_delta={prefix + "key": value}))
        )
    await store.end(session.id)
    assert (await store.load(session.id)).state == {prefix + "key": None}


EXACT = {
    "yes": True,
    "no": False,
    "one": 1,
    "whole float": 1.0,
    "sum": 0.1 + 0.2,
    "small": 5e-324,
    "large": 1.7976931348623157e308,
    "minus zero": -0.0,
    "big": 2**70,
    "negative": -(2**63) - 1,
    "nested": [{"a": [None, [], {}, ""]}],
    "text": "\x00 \u2028 😀 \\ \" ' \r\n\t",
    "key with \x00": 1,
}


@both()
async def test_state_values_are_read_back_unchanged(store: Store) -> None:
    session = await store.open()
    await store.service.append_event(session, event(actions=EventActions(state_delta=EXACT)))
    await store.end(session.id)
    read = (await store.load(session.id)).state
    assert read == EXACT
    assert {key: type(value) for key, value in read.items()} == {k: type(v) for k, v in EXACT.items()}
    assert math.copysign(1, read["minus zero"]) == -1


@both()
async def test_state_persists_from_run_to_run(store: Store) -> None:
    session = await store.open()
    await store.append(session, a=1, b=1)
    await store.end(session.id)
    await store.begin(session.id, store.alice)
    session = await store.load(session.id)
    assert session.state == {"a": 1, "b": 1}
    await store.append(session, b=2, c=3)
    await store.end(session.id)
    assert (await store.load(session.id)).state == {"a": 1, "b": 2, "c": 3}


# --- 5. temp: -------------------------------------------------------------------------------------


@both()
async def test_temp_state_is_visible_in_the_run_and_not_stored(store: Store) -> None:
    session = await store.open()
    appended = await store.append(session, temp__a=1, b=2)
    assert session.state == {"temp:a": 1, "b": 2}
    assert appended.actions.state_delta == {"b": 2}
    await store.append(session, c=3)
    assert session.state["temp:a"] == 1
    read = await store.load(session.id)
    assert read.state == {"b": 2, "c": 3}
    assert [each.actions.state_delta for each in read.events] == [{"b": 2}, {"c": 3}]
    await store.end(session.id)
    assert (await store.load(session.id)).state == {"b": 2, "c": 3}


@both()
async def test_an_event_with_only_temp_state_is_stored(store: Store) -> None:
    session = await store.open()
    await store.append(session, temp__a=1)
    (read,) = (await store.load(session.id)).events
    assert read.actions.state_delta == {}


# --- 6. partial events ----------------------------------------------------------------------------


@both()
async def test_a_partial_event_is_returned_and_changes_nothing(store: Store) -> None:
    session = await store.open()
    before = session.model_copy(deep=True)
    partial = said("Hel", partial=True, actions=EventActions(state_delta={"a": 1, "temp:b": 2}))
    assert await store.service.append_event(session, partial) is partial
    assert partial.actions.state_delta == {"a": 1, "temp:b": 2}
    assert session == before and await store.load(session.id) == before


# --- 7. the whole event ---------------------------------------------------------------------------


def full_event() -> Event:
    """Return an event in which every field of ADK's is filled."""
    return Event(
        id="event-1",
        invocation_id="invocation-1",
        author="agent",
        timestamp=1_795_349_345.9123456,
        branch="root.child",
        isolation_scope="call-1",
        node_info=NodeInfo(path="root@1/child@2", output_for=["x"], message_as_output=True),
        partial=False,
        turn_complete=True,
        turn_complete_reason=types.TurnCompleteReason.RESPONSE_REJECTED,
        interaction_status=next(iter(types.InteractionStatus)),
        interaction_id="interaction-1",
        environment_id="environment-1",
        live_session_id="live-1",
        finish_reason=types.FinishReason.MAX_TOKENS,
        error_code="E",
        error_message="an error\x00 with NUL",
        interrupted=True,
        model_version="gemini-9",
        output={"a": [1, None]},
        long_running_tool_ids={"call-2", "call-1"},
        custom_metadata={"a": {"b": None}, "__adk_internal_x": 1},
        avg_logprobs=-0.1 - 0.2,
        content=types.Content(role="model", parts=full_parts()),
        usage_metadata=types.GenerateContentResponseUsageMetadata(
            prompt_token_count=1, candidates_token_count=2, thoughts_token_count=3, total_token_count=6
        ),
        grounding_metadata=types.GroundingMetadata(
            search_entry_point=types.SearchEntryPoint(rendered_content="<b>", sdk_blob=b"\x00\xffblob")
        ),
        citation_metadata=types.CitationMetadata(
            citations=[types.Citation(start_index=1, uri="https://e.org")]
        ),
        logprobs_result=types.LogprobsResult(log_probability_sum=-1.5),
        cache_metadata=CacheMetadata(fingerprint="f", contents_count=1),
        live_session_resumption_update=types.LiveServerSessionResumptionUpdate(new_handle="h"),
        go_away=types.LiveServerGoAway(time_left="1s"),
        voice_activity=types.VoiceActivity(audio_offset="1s"),
        input_transcription=types.Transcription(text="in", finished=True),
        output_transcription=types.Transcription(text="out", finished=False),
        actions=full_actions(),
    )


def full_parts() -> list[types.Part]:
    return [
        types.Part(text="thinking", thought=True, thought_signature=b"\x00\xff\xfesignature"),
        types.Part(text="NUL \x00, \u2028, 😀, \r\n"),
        types.Part.from_bytes(data=bytes(range(256)), mime_type="image/png"),
        types.Part(
            function_call=types.FunctionCall(id="1", name="f", args={"a": [1, {"b": None}], "c": 0.1 + 0.2})
        ),
        types.Part(
            function_response=types.FunctionResponse(id="1", name="f", response={"big": 2**70, "n": None})
        ),
        types.Part(file_data=types.FileData(file_uri="gs://b/o", mime_type="text/plain")),
        types.Part(executable_code=types.ExecutableCode(code="1+1", language=types.Language.PYTHON)),
        types.Part(
            code_execution_result=types.CodeExecutionResult(outcome=types.Outcome.OUTCOME_OK, output="2")
        ),
    ]


def full_actions() -> EventActions:
    asked_for_credentials: Any = {
        "1": {"credential_key": "k", "authScheme": {"type": "http", "scheme": "basic"}}
    }
    return EventActions(
        skip_summarization=True,
        state_delta={"a": 1, "user:b": [2], "app:c": {"d": None}},
        artifact_delta={"file": 0},
        transfer_to_agent="other",
        transfer_reason="because",
        escalate=True,
        requested_auth_configs=asked_for_credentials,
        requested_tool_confirmations={"1": ToolConfirmation(hint="sure?", payload={"q": 1})},
        compaction=EventCompaction(
            start_timestamp=1.5, end_timestamp=2.5, compacted_content=types.Content(role="model", parts=[])
        ),
        end_of_agent=True,
        agent_state={"a": 1},
        rewind_before_invocation_id="invocation-0",
        route=["a", 1, True],
        render_ui_widgets=[UiWidget(id="w", provider="mcp", payload={})],
        set_model_response={"a": 1},
    )


def test_the_full_event_is_full() -> None:
    full = full_event()
    for model in (full, full.actions):
        empty = [name for name in type(model).model_fields if getattr(model, name) in (None, "", {}, [])]
        assert empty == [], f"ADK has new fields: {empty}"


@both()
async def test_every_field_of_an_event_is_read_back(store: Store) -> None:
    session = await store.open()
    await store.service.append_event(session, full_event())
    assert (await store.load(session.id)).events == [full_event()]
    await store.end(session.id)
    assert (await store.load(session.id)).events[-1] == full_event()


@only_ours
async def test_every_field_is_read_back_in_another_process(store: Conversations) -> None:
    session = await store.open()
    await store.service.append_event(session, full_event())
    await store.end(session.id)
    (read,) = (await store.elsewhere().load(session.id)).events
    assert read == full_event()


@both()
async def test_an_event_without_content_is_read_back(store: Store) -> None:
    session = await store.open()
    bare = Event(author="agent")
    await store.service.append_event(session, bare)
    assert (await store.load(session.id)).events == [bare]


# --- 8. order and windows -------------------------------------------------------------------------


@both()
async def test_events_are_read_in_the_order_they_were_appended(store: Store) -> None:
    session = await store.open()
    now = time.time()
    for n, timestamp in enumerate([now, now, now - 5, now, now + 5, now]):
        await store.service.append_event(session, said(str(n), timestamp=timestamp))
    await store.end(session.id)
    read = (await store.load(session.id)).events
    assert [text_of(each) for each in read] == ["0", "1", "2", "3", "4", "5"]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"num_recent_events": 0}, []),
        ({"num_recent_events": 3}, [3, 4, 5]),
        ({"num_recent_events": 99}, [1, 2, 3, 4, 5]),
        ({"after_timestamp": 4.0}, [4, 5]),
        ({"after_timestamp": 4.5}, [5]),
        ({"after_timestamp": 9.0}, []),
        ({"after_timestamp": 2.0, "num_recent_events": 2}, [4, 5]),
        ({"after_timestamp": 4.0, "num_recent_events": 4}, [4, 5]),
        ({"after_timestamp": 1.0, "num_recent_events": 0}, []),
    ],
)
@pytest.mark.parametrize("ended", [False, True], ids=["during the run", "after it"])
@both()
async def test_events_can_be_limited_by_number_and_time(
    store: Store, config: dict[str, Any], expected: list[int], ended: bool
) -> None:
    session = await store.open()
    for n in range(1, 6):
        actions = EventActions(state_delta={"a": n})
        await store.service.append_event(session, said(str(n), timestamp=float(n), actions=actions))
    if ended:
        await store.end(session.id)
    read = await store.load(session.id, **config)
    assert [each.timestamp for each in read.events] == expected
    assert read.state == {"a": 5}


# --- 9. time and lists ----------------------------------------------------------------------------


@both()
async def test_the_last_update_time_is_the_last_events(store: Store) -> None:
    session = await store.open()
    appended = said("hello", timestamp=1_795_349_345.9123456)
    await store.service.append_event(session, appended)
    assert session.last_update_time == appended.timestamp
    assert (await store.load(session.id)).last_update_time == appended.timestamp


@both()
async def test_a_list_is_sorted_by_last_update_oldest_first(store: Store) -> None:
    ids = []
    for _ in range(3):
        ids.append((await store.create()).id)
        await asyncio.sleep(0.002)  # no two have the same time
    await store.begin(ids[0], store.alice)
    await store.append(await store.load(ids[0]), a=1)
    await store.end(ids[0])
    assert [each.id for each in await store.listed(store.alice)] == [ids[1], ids[2], ids[0]]


@both()
async def test_a_list_has_merged_state_and_no_events(store: Store) -> None:
    session = await store.open()
    await store.append(session, a=1, user__b=2, app__c=3)
    await store.service.append_event(session, said("hello"))
    await store.end(session.id)
    await store.create(store.bob)
    mine, bobs = await store.listed()
    assert mine.events == bobs.events == []
    assert mine.state == {"a": 1, "user:b": 2, "app:c": 3}
    assert bobs.state == {"app:c": 3}


@both()
async def test_a_list_holds_the_sessions_of_one_user_or_of_all(store: Store) -> None:
    mine, bobs = (await store.create(store.alice)).id, (await store.create(store.bob)).id
    assert [each.id for each in await store.listed(store.alice)] == [mine]
    assert [each.id for each in await store.listed(store.bob)] == [bobs]
    assert [each.id for each in await store.listed()] == [mine, bobs]
    assert await store.listed("nobody") == []
    assert (await store.service.list_sessions(app_name="another")).sessions == []


# --- 10. staleness --------------------------------------------------------------------------------


@both(in_memory="it has no check: the two appends of two turns interleave")
async def test_an_append_to_an_old_copy_is_refused(store: Store) -> None:
    session = await store.open()
    old = await store.load(session.id)
    await store.append(session, a=1)
    before = old.model_copy(deep=True)
    with pytest.raises(StaleSessionError):
        await store.append(old, a=2, temp__b=3)
    assert old == before
    assert (await store.load(session.id)).state == {"a": 1}


@both(in_memory="it has no check: all of them win")
async def test_one_of_many_concurrent_appends_to_copies_succeeds(store: Store) -> None:
    session = await store.open()
    copies = [session.model_copy(deep=True) for _ in range(5)]
    results = await asyncio.gather(
        *(store.append(each, winner=n) for n, each in enumerate(copies)), return_exceptions=True
    )
    (winner,) = [n for n, result in enumerate(results) if isinstance(result, Event)]
    assert sum(isinstance(result, StaleSessionError) for result in results) == 4
    read = await store.load(session.id)
    assert read.state == {"winner": winner} and len(read.events) == 1
    assert [len(each.events) for each in copies].count(1) == 1


@both()
async def test_the_same_session_accepts_successive_appends(store: Store) -> None:
    session = await store.open()
    for n in range(5):
        await store.append(session, n=n)
    assert session.state == {"n": 4} and len(session.events) == 5
    assert await store.load(session.id) == session


@only_ours
async def test_a_session_not_loaded_by_the_run_accepts_no_append(store: Store) -> None:
    session = await store.open()
    made_up = Session(id=session.id, app_name=APP, user_id=store.alice)
    with pytest.raises(StaleSessionError):
        await store.append(made_up, a=1)


@only_ours
async def test_a_session_of_the_previous_run_accepts_no_append(store: Store) -> None:
    session = await store.open()
    await store.append(session, a=1)
    await store.end(session.id)
    await store.begin(session.id, store.alice)
    with pytest.raises(StaleSessionError):
        await store.append(session, a=2)


@only_ours
async def test_a_failed_append_changes_nothing_and_can_be_retried(
    store: Conversations,
) -> None:
    session = await store.open()
    await store.append(session, a=1)
    before = session.model_copy(deep=True)
    turn, record = store.turns[session.id], store.turns[session.id].record

    async def fails(payload: str) -> None:
        raise OSError("the database is away")

    turn.record = fails
    again = event(actions=EventActions(state_delta={"a": 2, "user:b": 3, "temp:c": 4}))
    with pytest.raises(OSError, match="away"):
        await store.service.append_event(session, again)
    assert session == before and await store.load(session.id) == before
    turn.record = record
    await store.service.append_event(session, again)
    assert session.state == {"a": 2, "user:b": 3, "temp:c": 4}
    await store.end(session.id)
    assert (await store.load(session.id)).state == {"a": 2, "user:b": 3}


@only_ours
async def test_an_append_returns_after_the_commit(store: Conversations) -> None:
    session = await store.open()
    await store.append(session, a=1)
    run_id = store.turns[session.id].run_id
    assert await run_db(lambda: SessionEvent.objects.filter(run_id=run_id).count()) == 1
    assert store.journal.commits == 1


@only_ours
async def test_a_cancelled_append_is_still_stored(store: Conversations) -> None:
    """The write is already running, and the run must not know less of itself than the database."""
    session = await store.open()
    appending = asyncio.ensure_future(store.append(session, a=1))
    await asyncio.sleep(0)  # the append waits for the commit now
    appending.cancel()
    await asyncio.wait([appending])
    assert appending.cancelled()
    turn = store.turns[session.id]
    assert len(turn.own_payloads) == 1 and turn.state == {"a": 1}
    await store.end(session.id)
    read = await store.elsewhere().load(session.id)
    assert len(read.events) == 1 and read.state == {"a": 1}


# --- 11. deletion and refusal ---------------------------------------------------------------------


@both()
async def test_a_deleted_session_is_gone_and_accepts_no_append(store: Store) -> None:
    session = await store.open()
    await store.append(session, a=1, user__b=2, app__c=3)
    await store.end(session.id)
    for _ in range(2):  # deleting is idempotent
        await store.service.delete_session(app_name=APP, user_id=store.alice, session_id=session.id)
    gone = await store.service.get_session(app_name=APP, user_id=store.alice, session_id=session.id)
    assert gone is None
    assert await store.listed() == []
    with pytest.raises(SessionNotFoundError):
        await store.append(session, a=2)
    assert (await store.create()).state == {"user:b": 2, "app:c": 3}


@both()
async def test_deleting_a_foreign_or_missing_session_deletes_nothing(store: Store) -> None:
    session = await store.create()
    for app, user, session_id in (
        (APP, store.bob, session.id),
        ("another", store.alice, session.id),
        (APP, store.alice, str(uuid.uuid4())),
        (APP, store.alice, "no id of ours"),
    ):
        await store.service.delete_session(app_name=app, user_id=user, session_id=session_id)
    assert (await store.load(session.id)).id == session.id


@only_ours
async def test_a_conversation_with_an_active_run_is_not_deleted(store: Store) -> None:
    session = await store.open()
    with pytest.raises(ValueError, match="stop the run first"):
        await store.service.delete_session(app_name=APP, user_id=store.alice, session_id=session.id)
    await store.append(session, a=1)


@only_ours
async def test_an_append_outside_a_run_is_refused(store: Store) -> None:
    session = await store.create()
    with pytest.raises(SessionNotFoundError):
        await store.append(session, a=1)
    assert (await store.load(session.id)).events == []


# --- 12. odd values -------------------------------------------------------------------------------


@both()
async def test_a_value_json_cannot_hold_does_not_lose_the_event(store: Store) -> None:
    session = await store.open()
    odd = {"function": len, "user:half": "a\ud83d", "good": 1}
    await store.service.append_event(session, said("hello", actions=EventActions(state_delta=odd)))
    await store.end(session.id)
    read = await store.load(session.id)
    assert set(read.state) == set(odd) and read.state["good"] == 1
    assert text_of(read.events[-1]) == "hello"


@only_ours
async def test_a_value_json_cannot_hold_is_stored_as_its_repr(store: Store) -> None:
    session = await store.open()
    odd = {"function": len, "good": 1}
    await store.service.append_event(session, event(actions=EventActions(state_delta=odd)))
    read = await store.load(session.id)
    assert read.state == {"function": repr(len), "good": 1}
    assert read.events[0].actions.state_delta == read.state


@only_ours
async def test_lone_surrogates_and_nul_are_replaced_and_the_event_is_kept(store: Store) -> None:
    session = await store.open()
    part = types.Part(text="a\ud83d\x00", thought_signature=b"\x00\xff")
    content = types.Content(role="model", parts=[part, types.Part(text="b")])
    await store.service.append_event(session, event(content=content, timestamp=1.1))
    await store.end(session.id)
    (read,) = (await store.load(session.id)).events
    assert read.content and read.content.parts
    assert [each.text for each in read.content.parts] == ["a\ufffd\ufffd", "b"]
    assert read.content.parts[0].thought_signature == b"\x00\xff"
    assert read.timestamp == 1.1


@only_ours
@pytest.mark.parametrize("prefix", ["user:", "app:"])
@pytest.mark.parametrize("key", ["k" * 2000, "a\x00b", "a\ud83db"], ids=["long", "NUL", "half a surrogate"])
async def test_a_key_that_no_column_can_hold_does_not_prevent_the_runs_end(
    store: Store, prefix: str, key: str
) -> None:
    session = await store.open()
    await store.service.append_event(session, event(actions=EventActions(state_delta={prefix + key: 1})))
    await store.end(session.id)
    assert list((await store.load(session.id)).state.values()) == [1]


# --- 13. shared scopes ----------------------------------------------------------------------------


@both()
async def test_user_state_is_shared_by_a_users_sessions_and_app_state_by_all(store: Store) -> None:
    session = await store.open()
    await store.append(session, user__a=1, app__b=2, own=3)
    await store.end(session.id)
    assert (await store.create(store.alice)).state == {"user:a": 1, "app:b": 2}
    assert (await store.create(store.bob)).state == {"app:b": 2}
    other = await store.service.create_session(app_name="another", user_id=store.alice)
    assert other.state == {}


@only_ours
async def test_shared_state_is_visible_to_others_once_the_run_has_ended(store: Store) -> None:
    session = await store.open()
    await store.append(session, user__a=1, app__b=2)
    assert (await store.create(store.alice)).state == {}
    await store.end(session.id)
    assert (await store.create(store.alice)).state == {"user:a": 1, "app:b": 2}


@only_ours
async def test_shared_state_of_concurrent_runs_is_merged_by_key(store: Store) -> None:
    first, second = await store.open(), await store.open()
    await store.append(first, user__a=1, user__both="first", app__x=1)
    await store.append(second, user__b=2, user__both="second", app__y=2)
    await store.end(second.id)
    await store.end(first.id)
    assert (await store.create(store.alice)).state == {
        "user:a": 1,
        "user:b": 2,
        "user:both": "first",  # the last to end wins
        "app:x": 1,
        "app:y": 2,
    }


@only_ours
async def test_runs_that_end_together_create_each_shared_scopes_row_once(store: Store) -> None:
    """The rows are written in different orders, which would deadlock if the order of locks were not fixed."""
    sessions = [await store.open(store.alice if n % 2 else store.bob) for n in range(6)]
    keys = [f"key{n}" for n in range(20)]
    for n, session in enumerate(sessions):
        delta = {f"{scope}:{key}": n for key in keys[:: (-1) ** n] for scope in ("user", "app")}
        await store.service.append_event(session, event(actions=EventActions(state_delta=delta)))
    await asyncio.gather(*(store.end(session.id) for session in sessions))
    assert await run_db(UserState.objects.count) == 40
    assert await run_db(AppState.objects.count) == 20


@only_ours
async def test_only_changed_shared_scopes_are_written(store: Store) -> None:
    await store.create(state={"user:a": 1, "app:b": 1})
    await run_db(lambda: (UserState.objects.update(value="7"), AppState.objects.update(value="8")))
    session = await store.open()
    await run_db(lambda: (UserState.objects.update(value="9"), AppState.objects.update(value="9")))
    await store.append(session, own=1)
    assert session.state == {"user:a": 7, "app:b": 8, "own": 1}
    await store.end(session.id)
    assert (await store.load(session.id)).state == {"user:a": 9, "app:b": 9, "own": 1}


@both()
async def test_user_state_can_be_read_without_a_session(store: Store) -> None:
    session = await store.open()
    await store.append(session, user__a={"b": None}, app__c=1, own=2)
    await store.end(session.id)
    read = store.service.get_user_state
    assert await read(app_name=APP, user_id=store.alice) == {"a": {"b": None}}
    assert await read(app_name=APP, user_id=store.bob) == {}
    assert await read(app_name="another", user_id=store.alice) == {}
    assert await read(app_name=APP, user_id="nobody") == {}


# --- cost -----------------------------------------------------------------------------------------


@only_ours
async def test_a_list_reads_no_events(store: Store) -> None:
    for _ in range(3):
        session = await store.open()
        await store.service.append_event(session, said("x" * 100_000))
        await store.end(session.id)

    def queries() -> list[str]:
        with CaptureQueriesContext(connection) as captured:
            assert len(session_service._list(APP, store.alice)) == 3
        return [query["sql"] for query in captured]

    assert not any("payload" in sql for sql in await run_db(queries))
