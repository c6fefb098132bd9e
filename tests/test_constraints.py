"""What the database itself forbids, each tried."""

import uuid
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.models import User
from chat.models import AppState, Conversation, Message, Process, Run, RunEvent, SessionEvent, UserState

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def world(alice: Any) -> dict[str, Any]:
    conversation = Conversation.objects.create(owner=alice, agent="a", title="t")
    prompt = Message.objects.create(conversation=conversation, role="user", text="q")
    run = Run.objects.create(conversation=conversation, owner=alice, prompt=prompt, client_id=uuid.uuid4())
    reply = Message.objects.create(conversation=conversation, role="assistant", parent=prompt, run=run)
    RunEvent.objects.create(run=run, seq=1, type="run.started", data="{}")
    SessionEvent.objects.create(run=run, position=0, payload="{}")
    return {"owner": alice, "conversation": conversation, "prompt": prompt, "run": run, "reply": reply}


def refused(make: Any) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        make()


def run_of(world: dict[str, Any], **fields: Any) -> Run:
    base = {"conversation": world["conversation"], "owner": world["owner"], "prompt": world["prompt"]}
    return Run.objects.create(**(base | fields))


ENDED = {"ended_at": timezone.now(), "last_seq": 2}


@pytest.mark.parametrize("status", ["queued", "running"])
def test_a_second_active_run_in_a_conversation(world: dict[str, Any], status: str) -> None:
    refused(lambda: run_of(world, status=status))
    run_of(world, status="stopped", **ENDED)


def test_the_same_key_of_one_member_twice(world: dict[str, Any], bob: Any) -> None:
    ended = {"status": "stopped", **ENDED}
    key = world["run"].client_id
    refused(lambda: run_of(world, client_id=key, **ended))
    run_of(world, client_id=key, owner=bob, **ended)
    run_of(world, client_id=None, **ended)
    run_of(world, client_id=None, **ended)


def test_an_active_run_that_has_ended(world: dict[str, Any]) -> None:
    refused(lambda: Run.objects.update(ended_at=timezone.now(), last_seq=2))


@pytest.mark.parametrize("status", ["completed", "stopped", "failed", "expired"])
def test_a_terminal_run_without_its_end(world: dict[str, Any], status: str) -> None:
    refused(lambda: Run.objects.update(status=status, reply=world["reply"], last_seq=2))


def test_a_terminal_run_without_its_last_seq(world: dict[str, Any]) -> None:
    refused(lambda: Run.objects.update(status="stopped", ended_at=timezone.now(), last_seq=1))


def test_a_completed_run_without_a_reply(world: dict[str, Any]) -> None:
    refused(lambda: Run.objects.update(status="completed", **ENDED))
    Run.objects.update(status="completed", reply=world["reply"], **ENDED)


def test_an_unknown_status(world: dict[str, Any]) -> None:
    refused(lambda: Run.objects.update(status="dreaming", **ENDED))


def test_two_runs_with_one_reply(world: dict[str, Any]) -> None:
    Run.objects.update(status="completed", reply=world["reply"], **ENDED)
    refused(lambda: run_of(world, status="completed", reply=world["reply"], **ENDED))


def test_a_seq_twice_and_a_seq_below_1(world: dict[str, Any]) -> None:
    refused(lambda: RunEvent.objects.create(run=world["run"], seq=1, type="text", data="{}"))
    refused(lambda: RunEvent.objects.create(run=world["run"], seq=0, type="text", data="{}"))


def test_a_position_twice(world: dict[str, Any]) -> None:
    refused(lambda: SessionEvent.objects.create(run=world["run"], position=0, payload="{}"))


def test_an_unknown_role_and_feedback(world: dict[str, Any]) -> None:
    refused(lambda: Message.objects.filter(pk=world["prompt"].pk).update(role="system"))
    refused(lambda: Message.objects.update(feedback=5))
    Message.objects.update(feedback=-1)


def test_a_question_that_a_run_wrote(world: dict[str, Any]) -> None:
    refused(lambda: Message.objects.filter(pk=world["prompt"].pk).update(run=world["run"]))


def test_a_key_of_state_twice(world: dict[str, Any]) -> None:
    alice = world["owner"]
    UserState.objects.create(user=alice, agent="a", key="k", value="1")
    refused(lambda: UserState.objects.create(user=alice, agent="a", key="k", value="2"))
    AppState.objects.create(agent="a", key="k", value="1")
    refused(lambda: AppState.objects.create(agent="a", key="k", value="2"))


def test_a_second_server_on_one_sqlite_file() -> None:
    identity = {"host": "h", "pid": 1, "boot_id": "b", "version": "v"}
    Process.objects.create(**identity, exclusive=True)
    refused(lambda: Process.objects.create(**identity, exclusive=True))
    refused(lambda: Process.objects.create(**identity, exclusive=False))
    Process.objects.create(**identity)
    Process.objects.create(**identity)


def test_a_second_owner_of_the_site() -> None:
    User.objects.create_user("one", "one@example.org", "x", is_superuser=True)
    refused(lambda: User.objects.create_user("two", "two@example.org", "x", is_superuser=True))


def test_a_name_and_an_address_twice_in_another_case(alice: Any) -> None:
    refused(lambda: User.objects.create_user("ALICE", "other@example.org", "x"))
    refused(lambda: User.objects.create_user("ａlice", "other@example.org", "x"))  # NFKC: alice
    refused(lambda: User.objects.create_user("other", "Alice@Example.org", "x"))
    User.objects.create_user("nobody", "", "x")
    User.objects.create_user("no one", "", "x")


def test_a_member_can_be_deleted_whole(world: dict[str, Any]) -> None:
    Run.objects.update(status="completed", reply=world["reply"], **ENDED)
    Conversation.objects.update(head=world["reply"])
    world["owner"].delete()
    for model in (Conversation, Message, Run, RunEvent, SessionEvent):
        assert model.objects.count() == 0
