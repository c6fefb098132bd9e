"""ADK's contract of a session service, checked on ours and on ADK's in-memory service.

This module is about sessions, ``test_session_events.py`` about their events and ``test_session_state.py``
about their state. Where the two services differ and ADK's way would be possible, the check is a strict xfail
with a reason.

Left out, of what ADK's own services promise or test:

==================================================  =========================================================
left out                                            reason
==================================================  =========================================================
one id for sessions of two users                    the id of a conversation is unique in the installation,
                                                    so ``create_session`` refuses it (checked, only for ours)
ids and users of any form                           they are UUIDs of conversations and ids of users
initial state of the session's own scope            a conversation begins empty; ``app:`` and ``user:`` are
                                                    accepted. It would not survive ADK's rewind either, which
                                                    replays the deltas of events
appending at any time                               only a run appends, and a conversation has one at a time
``Runner.rewind_async``                             it appends outside a run. An edit makes a branch instead,
                                                    and a rewind event is stored as any other
shared state seen by others immediately             a run's deltas become visible when it has ended
``last_update_time`` of an event outside its run    it is the conversation's then
deletion of rows, and a new session with the id     a deleted conversation is hidden, and its rows are kept
the same event appended twice is stored once        only the in-memory service does it, and no caller of ours
                                                    repeats an append
``create_session_sync`` and the other ``…_sync``    deprecated, and only of the in-memory service
copies that share their values (a feature flag)     only of the in-memory service; ours are always whole
the class ``State`` and its schemas                 ADK's own object, which our service never replaces
addresses, schema versions, migrations, pickles     of ADK's own databases; ours are Django's
sessions at Vertex AI                               another service, behind a network
==================================================  =========================================================
"""

import asyncio
import uuid
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from google.adk.errors.already_exists_error import AlreadyExistsError
from google.adk.errors.session_not_found_error import SessionNotFoundError
from google.adk.events import EventActions
from google.adk.sessions import Session

from chat.agent.memory import session_service
from chat.database import run_db
from tests.agent.session_stores import (
    APP,
    Store,
    both,
    only_ours,
    said,
    text_of,
)

# --- keys -----------------------------------------------------------------------------------------


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


# --- creation -------------------------------------------------------------------------------------


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


# --- equality -------------------------------------------------------------------------------------


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


@both()
async def test_a_list_and_user_state_are_copies(store: Store) -> None:
    session = await store.open()
    await store.append(session, own={"a": [1]}, user__theirs={"a": [1]}, app__all={"a": [1]})
    await store.end(session.id)
    (listed,) = await store.listed(store.alice)
    for key in ("own", "user:theirs", "app:all"):
        listed.state[key]["a"].append(2)
    read = await store.service.get_user_state(app_name=APP, user_id=store.alice)
    read["theirs"]["a"].append(3)
    again = await store.load(session.id)
    assert again.state == {"own": {"a": [1]}, "user:theirs": {"a": [1]}, "app:all": {"a": [1]}}


@both(in_memory="it keeps the caller's own objects")
async def test_a_caller_that_changes_its_values_later_changes_nothing(store: Store) -> None:
    initial = {"user:mine": {"a": [1]}}
    session = await store.create(state=initial)
    initial["user:mine"]["a"].append(2)
    await store.begin(session.id, store.alice)
    session = await store.load(session.id)
    appended = said("hello", actions=EventActions(state_delta={"own": {"b": [1]}}))
    await store.service.append_event(session, appended)
    appended.actions.state_delta["own"]["b"].append(2)
    assert appended.content and appended.content.parts
    appended.content.parts[0].text = "bye"
    read = await store.load(session.id)
    assert read.state == {"user:mine": {"a": [1]}, "own": {"b": [1]}}
    assert [text_of(each) for each in read.events] == ["hello"]


@both()
async def test_an_append_returns_its_event(store: Store) -> None:
    session = await store.open()
    appended = said("hello")
    assert await store.service.append_event(session, appended) is appended
    assert session.events == [appended]


# --- time and lists -------------------------------------------------------------------------------


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


# --- deletion and refusal -------------------------------------------------------------------------


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


@both()
async def test_an_append_to_a_session_of_another_app_or_user_is_refused(store: Store) -> None:
    session = await store.open()
    for fields in ({"app_name": "another"}, {"user_id": store.bob}):
        with pytest.raises(SessionNotFoundError):
            await store.append(session.model_copy(update=fields, deep=True), a=1)
    assert (await store.load(session.id)).events == []


@both()
async def test_white_space_around_the_id_of_a_deleted_session_is_stripped(store: Store) -> None:
    session = await store.create()
    await store.service.delete_session(app_name=APP, user_id=store.alice, session_id=f" {session.id}\n")
    assert await store.listed() == []


@only_ours
async def test_the_id_of_a_deleted_conversation_stays_taken(store: Store) -> None:
    session = await store.create()
    await store.service.delete_session(app_name=APP, user_id=store.alice, session_id=session.id)
    with pytest.raises(AlreadyExistsError):
        await store.create(session_id=session.id)


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
