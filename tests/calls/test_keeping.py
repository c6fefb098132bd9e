"""Rows of calls: one a member, resumed in grace, taken over by name, ended by any process."""

import os
import socket
import subprocess
import threading
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from chat.calls import keeping
from chat.calls.closing import CallEnd, CallRefused
from chat.calls.keeping import HeldCall
from chat.calls.models import LiveCall
from chat.models import Conversation, Message, Process, QueuedAsk, Run
from chat.refusals import Refusal

pytestmark = pytest.mark.django_db(transaction=True)


def conversation_of(owner: Any, **fields: Any) -> Conversation:
    return Conversation.objects.create(owner=owner, agent="a", title="t", **fields)


def process(host: str = "elsewhere", pid: int = 1, boot_id: str = "b") -> uuid.UUID:
    return Process.objects.create(host=host, pid=pid, boot_id=boot_id, version="v").pk


@pytest.fixture
def here(transactional_db: None) -> uuid.UUID:
    return process()


@pytest.fixture
def there(transactional_db: None) -> uuid.UUID:
    return process()


def refused(*arguments: Any, **options: Any) -> CallEnd:
    with pytest.raises(CallRefused) as raised:
        keeping.admit(*arguments, **options)
    return raised.value.end


def lose(call: LiveCall, ago: float = 0) -> None:
    assert keeping.mark_lost(call.pk, call.epoch)
    LiveCall.objects.filter(pk=call.pk).update(seen_at=timezone.now() - timedelta(seconds=ago))


def forget(call: LiveCall, ago: float) -> None:
    """Renew the call no more, as a process that has crashed."""
    LiveCall.objects.filter(pk=call.pk).update(seen_at=timezone.now() - timedelta(seconds=ago))


# --- opening --------------------------------------------------------------------------------------


def test_a_call_is_opened(alice: Any, here: uuid.UUID) -> None:
    conversation = conversation_of(alice)
    call = keeping.admit(alice, conversation.pk, here)
    assert (call.conversation, call.owner, call.process_id, call.epoch) == (conversation, alice, here, 1)
    assert (call.lost_at, call.ended_at, call.seconds_left) == (None, None, 3600)


@pytest.mark.parametrize("kind", ["foreign", "missing", "deleted"])
def test_a_conversation_of_nobody_here_is_not_found(alice: Any, bob: Any, here: uuid.UUID, kind: str) -> None:
    pks = {
        "foreign": conversation_of(alice).pk,
        "missing": uuid.uuid4(),
        "deleted": conversation_of(bob, deleted_at=timezone.now()).pk,
    }
    assert refused(bob, pks[kind], here) == CallEnd.NOT_FOUND


def test_a_member_who_may_not_ask_may_not_call(alice: Any, here: uuid.UUID) -> None:
    open_, locked = conversation_of(alice), conversation_of(alice, locked_at=timezone.now())
    assert refused(alice, locked.pk, here) == CallEnd.LOCKED
    alice.warned_at = timezone.now()
    assert refused(alice, open_.pk, here) == CallEnd.WARNED
    alice.suspended_until = timezone.now() + timedelta(days=1)
    alice.save()
    assert refused(alice, open_.pk, here) == CallEnd.SUSPENDED
    alice.is_active = False
    assert refused(alice, open_.pk, here) == CallEnd.SIGNED_OUT


def test_a_conversation_that_answers_or_has_a_queue_takes_no_call(alice: Any, here: uuid.UUID) -> None:
    conversation = conversation_of(alice)
    prompt = Message.objects.create(conversation=conversation, role="user", text="q")
    run = Run.objects.create(conversation=conversation, owner=alice, prompt=prompt)
    assert refused(alice, conversation.pk, here) == CallEnd.BUSY
    run.delete()
    ask = QueuedAsk.objects.create(conversation=conversation, owner=alice, text="q", position=1)
    assert refused(alice, conversation.pk, here) == CallEnd.BUSY
    ask.delete()
    keeping.admit(alice, conversation.pk, here)


def test_a_process_without_a_row_opens_no_call(alice: Any) -> None:
    assert refused(alice, conversation_of(alice).pk, uuid.uuid4()) == CallEnd.UNAVAILABLE
    assert not LiveCall.objects.exists()


# --- one call a conversation and a member ---------------------------------------------------------


def test_a_second_socket_is_refused_while_the_call_is_connected(
    alice: Any, here: uuid.UUID, there: uuid.UUID
) -> None:
    conversation, other = conversation_of(alice), conversation_of(alice)
    call = keeping.admit(alice, conversation.pk, here)
    for process_id in (here, there):
        assert refused(alice, conversation.pk, process_id) == CallEnd.IN_CALL
        assert refused(alice, conversation.pk, process_id, call=uuid.uuid4()) == CallEnd.IN_CALL
        assert refused(alice, other.pk, process_id) == CallEnd.IN_CALL
        assert refused(alice, other.pk, process_id, call=call.pk) == CallEnd.IN_CALL
    assert LiveCall.objects.get() == call


def test_a_call_that_is_named_is_taken_over(alice: Any, here: uuid.UUID, there: uuid.UUID) -> None:
    conversation = conversation_of(alice)
    call = keeping.admit(alice, conversation.pk, here)
    again = keeping.admit(alice, conversation.pk, here, call=call.pk)
    assert (again.pk, again.epoch) == (call.pk, 1)  # the same process attaches the socket
    taken = keeping.admit(alice, conversation.pk, there, call=call.pk)
    assert (taken.pk, taken.epoch, taken.process_id) == (call.pk, 2, there)
    assert keeping.ends_of({call.pk: 1}) == {call.pk: CallEnd.TAKEN_OVER}
    assert keeping.ends_of({call.pk: 2}) == {}


def test_an_older_holder_writes_nothing(alice: Any, here: uuid.UUID, there: uuid.UUID) -> None:
    conversation = conversation_of(alice)
    call = keeping.admit(alice, conversation.pk, here)
    keeping.admit(alice, conversation.pk, there, call=call.pk)
    assert not keeping.mark_lost(call.pk, 1)
    assert not keeping.end_call(call.pk, 1, CallEnd.HUNG_UP)
    assert not keeping.store_handle(call.pk, 1, "handle")
    keeping.renew_calls({call.pk: HeldCall(1, 5.0, 5.0, 5)})
    call.refresh_from_db()
    assert (call.ended_at, call.lost_at, call.handle, call.turns) == (None, None, None, 0)


@pytest.mark.parametrize("rounds", range(3))
def test_of_calls_at_the_same_time_one_wins(
    alice: Any, here: uuid.UUID, there: uuid.UUID, rounds: int
) -> None:
    conversations = [conversation_of(alice).pk, conversation_of(alice).pk]
    results: list[Any] = []
    barrier = threading.Barrier(6)

    def call(number: int) -> None:
        barrier.wait()
        try:
            found = keeping.admit(alice, conversations[number % 2], (here, there)[number % 3 % 2])
            results.append(found.pk)
        except CallRefused as refusal:
            results.append(refusal.end)
        finally:
            connection.close()

    threads = [threading.Thread(target=call, args=[number]) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results.count(CallEnd.IN_CALL) == 5
    assert LiveCall.objects.get().pk in results


def test_of_sockets_that_resume_at_the_same_time_one_wins(alice: Any, there: uuid.UUID) -> None:
    conversation = conversation_of(alice)
    lost = keeping.admit(alice, conversation.pk, process())
    lose(lost)
    results: list[Any] = []
    barrier = threading.Barrier(4)

    def resume() -> None:
        barrier.wait()
        try:
            results.append(keeping.admit(alice, conversation.pk, there).epoch)
        except CallRefused as refusal:
            results.append(refusal.end)
        finally:
            connection.close()

    threads = [threading.Thread(target=resume) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results, key=str) == sorted([2, *[CallEnd.IN_CALL] * 3], key=str)


# --- lost and resumed -----------------------------------------------------------------------------


def test_a_lost_call_is_resumed_by_any_process(alice: Any, here: uuid.UUID, there: uuid.UUID) -> None:
    conversation = conversation_of(alice)
    call = keeping.admit(alice, conversation.pk, here)
    keeping.renew_calls({call.pk: HeldCall(1, 3.0, 2.0, 1)})
    assert keeping.store_handle(call.pk, 1, "handle")
    lose(call, ago=20)
    resumed = keeping.admit(alice, conversation.pk, there)
    assert (resumed.pk, resumed.epoch, resumed.lost_at) == (call.pk, 2, None)
    assert (resumed.seconds_in, resumed.seconds_out, resumed.turns) == (3.0, 2.0, 1)
    assert keeping.handle_of(call.pk) == "handle"


def test_the_turn_of_a_lost_call_does_not_prevent_its_resumption(alice: Any, here: uuid.UUID) -> None:
    conversation = conversation_of(alice)
    call = keeping.admit(alice, conversation.pk, here)
    prompt = Message.objects.create(conversation=conversation, role="user")
    run = Run.objects.create(conversation=conversation, owner=alice, prompt=prompt, mode=Run.Mode.LIVE)
    lose(call)
    assert keeping.admit(alice, conversation.pk, here).pk == call.pk
    lose(call)
    Run.objects.filter(pk=run.pk).update(mode=Run.Mode.SSE)
    assert refused(alice, conversation.pk, here) == CallEnd.BUSY


def test_a_call_that_no_process_renews_can_be_resumed_after_3_seconds(
    alice: Any, here: uuid.UUID, there: uuid.UUID
) -> None:
    conversation = conversation_of(alice)
    call = keeping.admit(alice, conversation.pk, here)
    forget(call, ago=2)
    assert refused(alice, conversation.pk, there) == CallEnd.IN_CALL
    forget(call, ago=4)
    assert keeping.admit(alice, conversation.pk, there).epoch == 2


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def test_a_call_of_a_dead_process_can_be_resumed_at_once(alice: Any, there: uuid.UUID) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    conversation = conversation_of(alice)
    dead = process(socket.gethostname(), ended.pid, boot_id())
    call = keeping.admit(alice, conversation.pk, dead)
    assert keeping.admit(alice, conversation.pk, there).epoch == 2
    LiveCall.objects.filter(pk=call.pk).update(process=None)
    assert keeping.admit(alice, conversation.pk, there).epoch == 3


@pytest.mark.parametrize("which", ["living", "rebooted", "other host"])
def test_a_process_is_only_dead_if_that_is_certain(alice: Any, there: uuid.UUID, which: str) -> None:
    facts = {
        "living": (socket.gethostname(), os.getppid(), boot_id()),
        "rebooted": (socket.gethostname(), 2**22 + 1, "another"),
        "other host": ("elsewhere", 2**22 + 1, boot_id()),
    }
    conversation = conversation_of(alice)
    keeping.admit(alice, conversation.pk, process(*facts[which]))
    assert refused(alice, conversation.pk, there) == CallEnd.IN_CALL


def test_another_conversation_ends_a_call_that_is_lost(alice: Any, here: uuid.UUID) -> None:
    call = keeping.admit(alice, conversation_of(alice).pk, here)
    lose(call)
    new = keeping.admit(alice, conversation_of(alice).pk, here)
    assert new.pk != call.pk
    assert keeping.ends_of({call.pk: 1, new.pk: 1}) == {call.pk: CallEnd.LOST}


def test_any_process_ends_calls_whose_grace_is_over(alice: Any, bob: Any, here: uuid.UUID) -> None:
    over, not_yet = (keeping.admit(each, conversation_of(each).pk, here) for each in (alice, bob))
    keeping.store_handle(over.pk, 1, "handle")
    lose(over, ago=31)
    lose(not_yet, ago=29)
    assert keeping.end_lost() == 1
    over.refresh_from_db()
    assert (over.end_code, over.handle) == ("lost", None)
    assert over.ended_at
    # without the sweep, a new call finds it over, too
    conversation = conversation_of(bob)
    lose(not_yet, ago=31)
    assert keeping.admit(bob, conversation.pk, here).pk != not_yet.pk


def test_a_call_that_is_resumed_does_not_end_with_its_grace(alice: Any, here: uuid.UUID) -> None:
    conversation = conversation_of(alice)
    call = keeping.admit(alice, conversation.pk, here)
    lose(call, ago=29)
    keeping.admit(alice, conversation.pk, here)
    assert keeping.end_lost() == 0


# --- while it is open -----------------------------------------------------------------------------


def test_one_statement_renews_all_calls_of_a_process(alice: Any, bob: Any, here: uuid.UUID) -> None:
    calls = [keeping.admit(each, conversation_of(each).pk, here) for each in (alice, bob)]
    for call in calls:
        forget(call, ago=2)
    held = {call.pk: HeldCall(1, 1.5 + n, 0.25, n) for n, call in enumerate(calls)}
    with CaptureQueriesContext(connection) as captured:
        keeping.renew_calls(held)
        assert keeping.ends_of({call.pk: 1 for call in calls}) == {}
    assert len(captured) == 2
    for n, call in enumerate(calls):
        call.refresh_from_db()
        assert (call.seconds_in, call.seconds_out, call.turns) == (1.5 + n, 0.25, n)
        assert timezone.now() - call.seen_at < timedelta(seconds=1)


def test_a_call_that_is_renewed_is_lost_no_more(alice: Any, here: uuid.UUID) -> None:
    """The loss of a socket may be stored after the next one has come."""
    call = keeping.admit(alice, conversation_of(alice).pk, here)
    lose(call, ago=10)
    keeping.renew_calls({call.pk: HeldCall(1, 9.0)})
    call.refresh_from_db()
    assert call.lost_at is None
    assert refused(alice, call.conversation_id, here) == CallEnd.IN_CALL


@pytest.mark.parametrize(
    ("model", "changed", "end"),
    [
        ("conversation", {"deleted_at": timezone.now()}, CallEnd.NOT_FOUND),
        ("conversation", {"locked_at": timezone.now()}, CallEnd.LOCKED),
        ("owner", {"is_active": False}, CallEnd.SIGNED_OUT),
        ("owner", {"suspended_until": timezone.now() + timedelta(days=1)}, CallEnd.SUSPENDED),
        ("call", {"opened_at": timezone.now() - timedelta(seconds=1801)}, CallEnd.TOO_LONG),
        ("call", {"owner_id": None}, CallEnd.NOT_FOUND),
    ],
)
def test_a_call_ends_with_the_rights_to_it(
    alice: Any, bob: Any, here: uuid.UUID, model: str, changed: dict[str, Any], end: CallEnd
) -> None:
    call = keeping.admit(alice, conversation_of(alice).pk, here)
    if "owner_id" in changed:
        changed = {"owner_id": bob.pk}
    changed_row = call if model == "call" else getattr(call, model)
    type(changed_row)._default_manager.filter(pk=changed_row.pk).update(**changed)
    assert keeping.ends_of({call.pk: 1}) == {call.pk: end}
    LiveCall.objects.all().delete()
    assert keeping.ends_of({call.pk: 1}) == {call.pk: CallEnd.NOT_FOUND}


def test_the_end_of_a_call_is_stored_once(alice: Any, here: uuid.UUID) -> None:
    call = keeping.admit(alice, conversation_of(alice).pk, here)
    assert keeping.end_call(call.pk, 1, CallEnd.HUNG_UP)
    assert not keeping.end_call(call.pk, 1, CallEnd.IDLE)
    assert keeping.ends_of({call.pk: 1}) == {call.pk: CallEnd.HUNG_UP}


def test_every_end_fits_its_column() -> None:
    length = LiveCall._meta.get_field("end_code").max_length
    assert length
    labels = [end.label for end in CallEnd]
    assert len(set(labels)) == len(labels)
    assert max(map(len, labels)) <= length


# --- the day's minutes ----------------------------------------------------------------------------


def test_the_minutes_of_a_day_are_of_all_calls_of_24_hours(
    alice: Any, bob: Any, here: uuid.UUID, settings: Any
) -> None:
    settings.LIVE_MINUTES_A_DAY = 2
    conversation = conversation_of(alice)

    def spoken(ago: timedelta, seconds: float, owner: Any = alice) -> None:
        then = timezone.now() - ago
        LiveCall.objects.create(
            owner=owner, conversation=conversation, opened_at=then, ended_at=then, seconds_in=seconds,
            seconds_out=seconds,
        )  # fmt: skip

    spoken(timedelta(hours=25), 60)
    spoken(timedelta(hours=1), 60, owner=bob)
    assert keeping.seconds_left(alice.pk) == 120
    spoken(timedelta(hours=23), 40)
    call = keeping.admit(alice, conversation.pk, here)
    assert call.seconds_left == 40
    keeping.renew_calls({call.pk: HeldCall(1, 20.0, 20.0)})
    lose(call)
    assert refused(alice, conversation.pk, here) == CallEnd.OVER_LIMIT
    settings.LIVE_MINUTES_A_DAY = 0
    assert keeping.admit(alice, conversation.pk, here).seconds_left is None


def test_limits_off_lifts_the_limit_of_minutes(alice: Any, settings: Any) -> None:
    settings.LIMITS = False
    assert keeping.seconds_left(alice.pk) is None


# --- written asks ---------------------------------------------------------------------------------


def ask_in(conversation: Conversation) -> None:
    with transaction.atomic():
        keeping.refuse_in_call(conversation)


def test_a_connected_call_refuses_a_written_ask_and_a_lost_one_ends(alice: Any, here: uuid.UUID) -> None:
    conversation = conversation_of(alice)
    ask_in(conversation)
    call = keeping.admit(alice, conversation.pk, here)
    with pytest.raises(Refusal) as refusal:
        ask_in(conversation)
    assert (refusal.value.status, refusal.value.code) == (409, "in_call")
    ask_in(conversation_of(alice))  # only in its conversation
    lose(call)
    ask_in(conversation)
    assert keeping.ends_of({call.pk: 1}) == {call.pk: CallEnd.WRITTEN}
    ask_in(conversation)


# --- handles --------------------------------------------------------------------------------------


def test_a_handle_is_stored_encrypted_for_its_call_only(
    alice: Any, bob: Any, here: uuid.UUID, settings: Any
) -> None:
    call, his = (keeping.admit(each, conversation_of(each).pk, here) for each in (alice, bob))
    assert keeping.handle_of(call.pk) is None
    keeping.store_handle(call.pk, 1, "secret-handle-7f3a")
    call.refresh_from_db()
    assert call.handle
    assert "7f3a" not in call.handle
    assert keeping.handle_of(call.pk) == "secret-handle-7f3a"
    LiveCall.objects.filter(pk=his.pk).update(handle=call.handle)
    assert keeping.handle_of(his.pk) is None
    old = settings.SECRET_KEY
    settings.SECRET_KEY = "another" * 10
    assert keeping.handle_of(call.pk) is None
    settings.SECRET_KEY_FALLBACKS = [old]
    assert keeping.handle_of(call.pk) == "secret-handle-7f3a"
