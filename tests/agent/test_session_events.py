"""ADK's contract of a session service: the events of a session, and who may append them."""

import asyncio
import time
import uuid
from typing import Any

import pytest
from google.adk.errors._stale_session_error import StaleSessionError
from google.adk.events import Event, EventActions
from google.adk.events.event import NodeInfo
from google.adk.events.event_actions import EventCompaction
from google.adk.events.ui_widget import UiWidget
from google.adk.models.cache_metadata import CacheMetadata
from google.adk.sessions import Session
from google.adk.sessions.base_session_service import GetSessionConfig
from google.adk.tools.tool_confirmation import ToolConfirmation
from google.genai import types

from chat.database import run_db
from chat.models import SessionEvent
from tests.agent.session_stores import (
    APP,
    Conversations,
    Store,
    both,
    event,
    only_ours,
    said,
    text_of,
)

# --- partial events -------------------------------------------------------------------------------


@both()
async def test_a_partial_event_is_returned_and_changes_nothing(store: Store) -> None:
    session = await store.open()
    before = session.model_copy(deep=True)
    partial = said("Hel", partial=True, actions=EventActions(state_delta={"a": 1, "temp:b": 2}))
    assert await store.service.append_event(session, partial) is partial
    assert partial.actions.state_delta == {"a": 1, "temp:b": 2}
    assert session == before and await store.load(session.id) == before


@both()
async def test_a_partial_event_needs_no_session(store: Store) -> None:
    nowhere = Session(id=str(uuid.uuid4()), app_name=APP, user_id=store.alice)
    partial = said("Hel", partial=True)
    assert await store.service.append_event(nowhere, partial) is partial


# --- the whole event ------------------------------------------------------------------------------


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


# --- order and windows ----------------------------------------------------------------------------


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


@both()
async def test_a_window_from_the_beginning_of_time_has_all_events(store: Store) -> None:
    session = await store.open()
    await store.service.append_event(session, said("early", timestamp=0.5))
    await store.service.append_event(session, said("late"))
    assert len((await store.load(session.id, after_timestamp=0.0)).events) == 2


def test_a_negative_number_of_events_is_refused() -> None:
    with pytest.raises(ValueError, match="num_recent_events"):
        GetSessionConfig(num_recent_events=-1)


# --- staleness ------------------------------------------------------------------------------------


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
async def test_concurrent_appends_of_one_session_object_are_all_stored(store: Store) -> None:
    """A live connection has two of ADK's tasks append to the object that they share."""
    session = await store.open()
    await asyncio.gather(*(store.append(session, **{f"key{n}": n}) for n in range(8)))
    expected = {f"key{n}": n for n in range(8)}
    assert session.state == expected and len(session.events) == 8
    assert await store.load(session.id) == session


@both()
async def test_a_session_read_again_accepts_the_append(store: Store) -> None:
    session = await store.open()
    await store.append(session, a=1)
    again = await store.load(session.id)
    await store.append(again, a=2)
    assert (await store.load(session.id)).state == {"a": 2}


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

    async def fails(payload: str, *, can_wait: bool = False) -> None:
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
