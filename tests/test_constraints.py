"""The constraints of the database: each test tries to break one."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from accounts.models import User
from chat.memories.models import Memory
from chat.models import (
    AppState,
    Conversation,
    Message,
    Process,
    QueuedAsk,
    Run,
    RunEvent,
    SessionEvent,
    UserState,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def stored(alice: Any) -> dict[str, Any]:
    conversation = Conversation.objects.create(owner=alice, agent="a", title="t")
    prompt = Message.objects.create(conversation=conversation, role="user", text="q")
    run = Run.objects.create(conversation=conversation, owner=alice, prompt=prompt, client_id=uuid.uuid4())
    reply = Message.objects.create(conversation=conversation, role="assistant", parent=prompt, run=run)
    RunEvent.objects.create(run=run, seq=1, type="run.started", data="{}")
    SessionEvent.objects.create(run=run, position=0, payload="{}")
    return {"owner": alice, "conversation": conversation, "prompt": prompt, "run": run, "reply": reply}


def assert_refused(make: Any) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        make()


def run_of(stored: dict[str, Any], **fields: Any) -> Run:
    base = {"conversation": stored["conversation"], "owner": stored["owner"], "prompt": stored["prompt"]}
    return Run.objects.create(**(base | fields))


ENDED = {"ended_at": timezone.now(), "last_seq": 2}


@pytest.mark.parametrize("status", ["queued", "running"])
def test_a_conversation_has_at_most_one_active_run(stored: dict[str, Any], status: str) -> None:
    assert_refused(lambda: run_of(stored, status=status))
    run_of(stored, status="stopped", **ENDED)


def test_a_client_id_is_unique_for_a_member_unless_null(stored: dict[str, Any], bob: Any) -> None:
    ended = {"status": "stopped", **ENDED}
    key = stored["run"].client_id
    assert_refused(lambda: run_of(stored, client_id=key, **ended))
    run_of(stored, client_id=key, owner=bob, **ended)
    run_of(stored, client_id=None, **ended)
    run_of(stored, client_id=None, **ended)


def queued_in(stored: dict[str, Any], position: int, **fields: Any) -> QueuedAsk:
    base = {"conversation": stored["conversation"], "owner": stored["owner"], "text": "q"}
    return QueuedAsk.objects.create(position=position, **(base | fields))


def test_a_queue_has_five_places_with_one_ask_each(stored: dict[str, Any]) -> None:
    for position in range(1, 6):
        queued_in(stored, position)
        assert_refused(lambda position=position: queued_in(stored, position))
    for position in (0, 6):
        assert_refused(lambda position=position: queued_in(stored, position))


def test_a_client_id_of_a_queued_ask_is_unique_for_a_member_unless_null(
    stored: dict[str, Any], bob: Any
) -> None:
    key = uuid.uuid4()
    queued_in(stored, 1, client_id=key)
    assert_refused(lambda: queued_in(stored, 2, client_id=key))
    queued_in(stored, 2, client_id=key, owner=bob)
    queued_in(stored, 3)
    queued_in(stored, 4)


def test_an_active_run_has_no_end(stored: dict[str, Any]) -> None:
    assert_refused(lambda: Run.objects.update(ended_at=timezone.now(), last_seq=2))


@pytest.mark.parametrize("status", ["completed", "stopped", "failed", "expired"])
def test_a_terminal_run_has_an_end(stored: dict[str, Any], status: str) -> None:
    assert_refused(lambda: Run.objects.update(status=status, reply=stored["reply"], last_seq=2))


def test_a_terminal_run_has_a_last_seq(stored: dict[str, Any]) -> None:
    assert_refused(lambda: Run.objects.update(status="stopped", ended_at=timezone.now(), last_seq=1))


def test_a_completed_run_has_a_reply(stored: dict[str, Any]) -> None:
    assert_refused(lambda: Run.objects.update(status="completed", **ENDED))
    Run.objects.update(status="completed", reply=stored["reply"], **ENDED)


def test_an_unknown_status_of_a_run_is_refused(stored: dict[str, Any]) -> None:
    assert_refused(lambda: Run.objects.update(status="dreaming", **ENDED))


def test_a_reply_belongs_to_one_run(stored: dict[str, Any]) -> None:
    Run.objects.update(status="completed", reply=stored["reply"], **ENDED)
    assert_refused(lambda: run_of(stored, status="completed", reply=stored["reply"], **ENDED))


def test_a_seq_is_unique_in_its_run_and_at_least_1(stored: dict[str, Any]) -> None:
    assert_refused(lambda: RunEvent.objects.create(run=stored["run"], seq=1, type="text", data="{}"))
    assert_refused(lambda: RunEvent.objects.create(run=stored["run"], seq=0, type="text", data="{}"))


def test_a_position_is_unique_in_its_run(stored: dict[str, Any]) -> None:
    assert_refused(lambda: SessionEvent.objects.create(run=stored["run"], position=0, payload="{}"))


def test_unknown_roles_and_feedback_are_refused(stored: dict[str, Any]) -> None:
    assert_refused(lambda: Message.objects.filter(pk=stored["prompt"].pk).update(role="system"))
    assert_refused(lambda: Message.objects.update(feedback=5))
    Message.objects.update(feedback=-1)


def test_a_question_has_no_run(stored: dict[str, Any]) -> None:
    assert_refused(lambda: Message.objects.filter(pk=stored["prompt"].pk).update(run=stored["run"]))


def test_a_state_key_is_unique_for_its_user_and_agent(stored: dict[str, Any]) -> None:
    alice = stored["owner"]
    UserState.objects.create(user=alice, agent="a", key="k", value="1")
    assert_refused(lambda: UserState.objects.create(user=alice, agent="a", key="k", value="2"))
    AppState.objects.create(agent="a", key="k", value="1")
    assert_refused(lambda: AppState.objects.create(agent="a", key="k", value="2"))


def test_an_sqlite_file_has_at_most_one_server() -> None:
    identity = {"host": "h", "pid": 1, "boot_id": "b", "version": "v"}
    Process.objects.create(**identity, exclusive=True)
    assert_refused(lambda: Process.objects.create(**identity, exclusive=True))
    assert_refused(lambda: Process.objects.create(**identity, exclusive=False))
    Process.objects.create(**identity)
    Process.objects.create(**identity)


def test_a_site_has_at_most_one_owner() -> None:
    User.objects.create_user("one", "one@example.org", "x", is_superuser=True)
    assert_refused(lambda: User.objects.create_user("two", "two@example.org", "x", is_superuser=True))


def test_names_and_addresses_are_unique_in_any_case(alice: Any) -> None:
    assert_refused(lambda: User.objects.create_user("ALICE", "other@example.org", "x"))
    assert_refused(lambda: User.objects.create_user("ａlice", "other@example.org", "x"))  # NFKC: alice
    assert_refused(lambda: User.objects.create_user("other", "Alice@Example.org", "x"))
    User.objects.create_user("nobody", "", "x")
    User.objects.create_user("no one", "", "x")


def test_deletion_of_a_member_deletes_all_their_rows(stored: dict[str, Any]) -> None:
    Run.objects.update(status="completed", reply=stored["reply"], **ENDED)
    Conversation.objects.update(head=stored["reply"])
    queued_in(stored, 1)
    stored["owner"].delete()
    for model in (Conversation, Message, QueuedAsk, Run, RunEvent, SessionEvent):
        assert model.objects.count() == 0


@pytest.mark.parametrize(
    ("table", "column"),
    [("chat_run", "cost_millionths"), ("accounts_user", "language"), ("accounts_user", "time_zone")],
)
def test_a_removed_column_stays_for_servers_of_the_previous_version(table: str, column: str) -> None:
    """They run beside the new ones on PostgreSQL, during a rolling upgrade; SQLite has one server a file."""
    with connection.cursor() as cursor:
        columns = {each.name: each for each in connection.introspection.get_table_description(cursor, table)}
    if connection.vendor == "sqlite":
        assert column not in columns
    else:
        assert columns[column].default is not None


def memory_of(stored: dict[str, Any], **fields: Any) -> Memory:
    base = {"owner": stored["owner"], "agent": "a", "text": "t", "content": {}, "digest": "d"}
    return Memory.objects.create(**(base | fields))


def test_a_memory_has_text_and_the_conversation_of_its_run(stored: dict[str, Any]) -> None:
    assert_refused(lambda: memory_of(stored, text=""))
    assert_refused(lambda: memory_of(stored, run=stored["run"]))
    memory_of(stored, run=stored["run"], conversation=stored["conversation"])


def test_a_memory_is_stored_once_in_a_conversation_and_edited_after_that(stored: dict[str, Any]) -> None:
    memory = memory_of(stored, conversation=stored["conversation"])
    assert_refused(lambda: memory_of(stored, conversation=stored["conversation"]))
    memory_of(stored, conversation=stored["conversation"], agent="b")
    memory_of(stored)
    before = memory.created_at - timedelta(seconds=1)
    assert_refused(lambda: Memory.objects.filter(pk=memory.pk).update(edited_at=before))
