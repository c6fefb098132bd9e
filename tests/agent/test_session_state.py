"""ADK's contract of a session service: state, its scopes, and values that JSON cannot hold."""

import asyncio
import math
from datetime import UTC, datetime

import pytest
from google.adk.events import EventActions
from google.genai import types
from pydantic import BaseModel

from chat.database import run_db
from chat.models import AppState, UserState
from tests.agent.session_stores import (
    APP,
    Store,
    both,
    event,
    only_ours,
    said,
    text_of,
)

# --- state ----------------------------------------------------------------------------------------


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


# --- temp: ----------------------------------------------------------------------------------------


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


# --- odd values -----------------------------------------------------------------------------------


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


class Place(BaseModel):
    name: str
    visited: datetime


RICH = {
    "time": (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00Z"),
    "model": (
        Place(name="Oslo", visited=datetime(2026, 1, 2, tzinfo=UTC)),
        {"name": "Oslo", "visited": "2026-01-02T00:00:00Z"},
    ),
    "enumeration": (types.FinishReason.STOP, "STOP"),
    "tuple": ((1, 2), [1, 2]),
    "set": ({1}, [1]),
    "text in bytes": (b"abc", "abc"),
}


@pytest.mark.parametrize("prefix", ["", "user:", "app:"])
@only_ours
async def test_rich_values_are_stored_in_their_json_form_as_adks_databases_do(
    store: Store, prefix: str
) -> None:
    session = await store.open()
    delta = {prefix + kind: value for kind, (value, _) in RICH.items()}
    await store.service.append_event(session, event(actions=EventActions(state_delta=delta)))
    expected = {prefix + kind: stored for kind, (_, stored) in RICH.items()}
    assert (await store.load(session.id)).state == expected
    await store.end(session.id)
    assert (await store.load(session.id)).state == expected


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


# --- shared scopes --------------------------------------------------------------------------------


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
