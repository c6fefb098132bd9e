"""Deleted conversations leave the database after DELETED_DAYS, in small transactions; no others do."""

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from chat import actions, changes, events, lifecycle, purge
from chat.actions import Ask, send_message
from chat.calls.models import LiveCall
from chat.endings import End
from chat.events import Fold
from chat.files.models import Artifact, Blob, File
from chat.lifecycle import Outcome
from chat.memories.models import Memory
from chat.models import (
    Conversation,
    Message,
    PersonRequest,
    Process,
    Purge,
    RequestLook,
    Run,
    RunEvent,
    SessionEvent,
)
from chat.moderation import audit, grants
from chat.moderation.models import (
    AccessGrant,
    Appeal,
    AuditEvent,
    Consent,
    Decision,
    HiddenMessage,
    HiddenRun,
    HiddenTitle,
    Report,
    ReviewItem,
    ReviewNote,
    SealedConversation,
)
from chat.runs import purging
from chat.search.index import index_due
from tests.support.client import Client
from tests.support.gemini import Gemini, Hold, Text
from tests.support.waiting import auntil

pytestmark = pytest.mark.django_db(transaction=True)

OF_MODERATION: list[Any] = [
    AccessGrant, Appeal, Consent, Decision, HiddenMessage, HiddenRun, HiddenTitle, Report, ReviewItem,
    ReviewNote, SealedConversation,
]  # fmt: skip
OWNED: list[Any] = [
    Conversation, Message, Run, RunEvent, SessionEvent, PersonRequest, RequestLook, Artifact, File, Memory,
    LiveCall, *OF_MODERATION,
]  # fmt: skip


def conversation_of(owner: Any, text: str, turns: int = 3) -> Conversation:
    """Store a conversation in which everything is: replies, an edit, requests that were looked at, events."""
    process = Process.objects.create(host="h", pid=1, boot_id="b", version="v")
    blob = Blob.objects.get_or_create(sha256="0" * 64, size=1)[0]
    conversation: Conversation | None = None
    for n in range(turns):
        ask = Ask(query=f"{text} {n}", conversation=conversation.pk if conversation else None)
        run = send_message(owner, ask, agents=["a"])
        conversation = run.conversation
        claimed = lifecycle.claim(run.pk, process.pk)
        assert claimed
        fold = Fold([events.text(f"{text} reply")])
        outcome = Outcome(End(events.COMPLETED), session_events=["{}"])
        assert lifecycle.end(claimed[0], outcome, fold)
        request = PersonRequest.objects.create(
            run=run,
            kind="confirm",
            call="c",
            asking_call="a",
            tool="t",
            expires_at=timezone.now(),
            decision="approve",
            decided_by=owner,
            decided_at=timezone.now(),
            answered_by=run,
        )
        RequestLook.objects.create(request=request, person=owner)
        of_run = {"owner": owner, "conversation": conversation, "run": run}
        file = File.objects.create(blob=blob, name="f.txt", size=1, **of_run)
        Artifact.objects.create(agent="a", name="f.txt", version=n, file=file, **of_run)
        Memory.objects.create(
            owner=owner, agent="a", conversation=conversation, run=run, text=text, content={}, digest=str(n)
        )
        now = timezone.now()
        LiveCall.objects.create(conversation=conversation, owner=owner, opened_at=now, ended_at=now)
    assert conversation
    first = conversation.messages.filter(parent=None).get()
    Message.objects.create(conversation=conversation, role="user", text=f"{text} edited", parent=first.parent)
    open_to_staff(conversation)
    return conversation


def open_to_staff(conversation: Conversation) -> None:
    """Store all that moderation knows of a conversation."""
    for _ in range(3):
        grants.give_consent(conversation)
        AccessGrant.objects.create(
            staff=conversation.owner,  # anyone: they stay
            scope="conversation",
            conversation=conversation,
            basis="consent",
            expires_at=timezone.now(),
        )
    SealedConversation.objects.create(conversation=conversation)
    HiddenTitle.objects.create(conversation=conversation, title="t", shown="s")
    owner = conversation.owner
    for message in conversation.messages.all():
        item = ReviewItem.objects.create(message=message, conversation=conversation, member=owner)
        Report.objects.create(item=item, source="report", reason="other", member=owner)
        ReviewNote.objects.create(item=item, text="note")
        decision = Decision.objects.create(
            kind="hide", member=owner, conversation=conversation, message=message, reason="other", item=item
        )
        Appeal.objects.create(decision=decision, item=item, text="please")
        HiddenMessage.objects.create(message=message, conversation=conversation)
    for run in conversation.runs.all():
        HiddenRun.objects.create(run=run, conversation=conversation)


def delete(conversation: Conversation, ago: timedelta) -> None:
    actions.mark_deleted(conversation)
    Conversation.objects.filter(pk=conversation.pk).update(deleted_at=timezone.now() - ago)


def rows() -> dict[str, int]:
    return {model.__name__: model._default_manager.count() for model in OWNED}


def purge_all() -> int:
    """Purge what is due; return the number of batches."""
    record = purge.claim_day(timedelta())
    assert record
    batches = 0
    while purge.purge_some(record):
        batches += 1
    return batches


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purge, "PURGED_AT_ONCE", 2)


def test_every_row_of_a_deleted_conversation_leaves_and_no_other(
    alice: Any, bob: Any, small_batches: None
) -> None:
    for owner in (alice, bob):
        conversation_of(owner, "kept")
    kept = rows()
    assert all(kept.values()), kept
    gone = conversation_of(alice, "gone")
    delete(gone, timedelta(days=30, minutes=1))
    recorded = AuditEvent.objects.count()
    assert purge_all() > 10
    assert rows() == kept
    assert AuditEvent.objects.count() == recorded == 9
    assert not audit.verify().faults
    record = Purge.objects.get()
    assert (record.conversations, record.messages) == (1, 7)


def test_no_table_refers_to_a_conversation_that_the_purge_does_not_know() -> None:
    """A new table with a key to one of these has to be purged, too."""
    owned = {Conversation, Message, Run, PersonRequest}
    named = {
        model
        for model in apps.get_models()
        for field in model._meta.get_fields()
        if field.many_to_one and field.related_model in owned
    }
    assert {model.__name__ for model in named} <= {model.__name__ for model in OWNED} | {"QueuedAsk"}


def test_the_search_index_forgets_it(alice: Any) -> None:
    gone = conversation_of(alice, "xylophone")
    while index_due():
        pass
    delete(gone, timedelta(days=31))
    purge_all()
    while index_due():
        pass
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM chat_search_due")
        assert cursor.fetchone() == (0,)


@pytest.mark.parametrize(
    ("days", "ago", "is_due"),
    [
        (30, timedelta(days=29, hours=23), False),
        (30, timedelta(days=30, seconds=5), True),
        (0, timedelta(minutes=9), False),
        (0, timedelta(minutes=10, seconds=5), True),
    ],
)
def test_it_is_kept_for_so_many_days_and_for_its_undo(
    alice: Any, settings: Any, days: float, ago: timedelta, is_due: bool
) -> None:
    settings.DELETED_DAYS = days
    delete(conversation_of(alice, "q", turns=1), ago)
    purge_all()
    assert Conversation.objects.exists() is not is_due


def test_what_is_not_deleted_is_never_due(alice: Any, settings: Any) -> None:
    settings.DELETED_DAYS = 0
    old = conversation_of(alice, "q", turns=1)
    Conversation.objects.filter(pk=old.pk).update(updated_at=timezone.now() - timedelta(days=4000))
    assert purge_all() == 0


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        ({}, {"bank 5", "bank 50", "law 5", "law 50"}),
        ({"bank": 30}, {"bank 5", "law 5", "law 50"}),
        ({"*": 30}, {"bank 5", "law 5"}),
        ({"bank": 100, "*": 30}, {"bank 5", "bank 50", "law 5"}),
        ({"gone": 1}, {"bank 5", "bank 50", "law 5", "law 50"}),
    ],
)
def test_an_agents_conversations_are_kept_for_so_many_days_without_activity(
    alice: Any, settings: Any, keep: dict[str, float], kept: set[str]
) -> None:
    settings.KEEP_DAYS = keep
    for agent in ("bank", "law"):
        for days in (5, 50):
            Conversation.objects.create(
                owner=alice,
                agent=agent,
                title=f"{agent} {days}",
                pinned_at=timezone.now(),
                updated_at=timezone.now() - timedelta(days=days),
            )
    while purge.delete_one_that_is_too_old():
        pass
    visible = Conversation.objects.visible_to(alice)
    assert set(visible.values_list("title", flat=True)) == kept
    assert Conversation.objects.count() == 4  # the purge follows DELETED_DAYS later
    if len(kept) < 4:
        named = {change.conversation for change in changes.since(alice.pk, 0)[1]}
        assert named >= set(Conversation.objects.exclude(deleted_at=None).values_list("pk", flat=True))


def test_a_question_that_is_being_answered_keeps_its_conversation(alice: Any, settings: Any) -> None:
    settings.KEEP_DAYS = {"*": 1}
    run = send_message(alice, Ask(query="q"), agents=["a"])
    Conversation.objects.update(updated_at=timezone.now() - timedelta(days=9))
    assert not purge.delete_one_that_is_too_old()
    assert lifecycle.stop_queued(run.pk)
    assert not purge.delete_one_that_is_too_old()  # its end was an activity


def test_a_purge_that_was_interrupted_anywhere_goes_on(
    alice: Any, monkeypatch: pytest.MonkeyPatch, small_batches: None
) -> None:
    delete(conversation_of(alice, "q"), timedelta(days=31))
    steps = 0
    while Conversation.objects.exists():
        record = purge.claim_day(timedelta())  # a new process each time
        assert record
        assert purge.purge_some(record)
        steps += 1
        assert steps < 100
    assert not any(rows().values())


async def test_a_run_that_is_being_stopped_is_waited_for(
    as_alice: Client, gemini: Gemini, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DELETED_DAYS = 0
    gemini.on("slow", [Text("a"), Hold(), Text("b")])
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "slow"}) as asked:
        await asked.until("text")
        await Conversation.objects.aupdate(deleted_at=timezone.now() - timedelta(days=1))
        assert not [each async for each in purge.due()]
        gemini.release()
        await asked.all_events()
    await auntil(lambda: purge.due().aexists())


def test_one_process_at_a_time_purges(alice: Any) -> None:
    pause = timedelta(minutes=9)
    assert purge.claim_day(pause)
    assert purge.claim_day(pause) is None
    Purge.objects.update(last_at=timezone.now() - timedelta(minutes=10))
    assert purge.claim_day(pause)
    assert purge.claim_day(pause) is None
    assert Purge.objects.count() == 1


async def test_a_server_purges_by_itself(as_alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    await as_alice.ask("Hello")
    await Conversation.objects.aupdate(deleted_at=timezone.now() - timedelta(days=31))
    monkeypatch.setattr(purging, "PURGE_SECONDS", 0.05)
    duty = asyncio.ensure_future(purging.purge_regularly())
    try:
        await auntil(is_empty)
    finally:
        duty.cancel()


async def is_empty() -> bool:
    return not await Conversation.objects.aexists() and not await Message.objects.aexists()


def test_the_command_counts_and_purges(alice: Any) -> None:
    delete(conversation_of(alice, "gone"), timedelta(days=31))
    conversation_of(alice, "kept")
    said = StringIO()
    call_command("purge", "--dry-run", stdout=said)
    assert "Due: 1 conversations with 7 messages." in said.getvalue()
    assert "no longer keeps them: 0." in said.getvalue()
    assert Conversation.objects.count() == 2
    said = StringIO()
    call_command("purge", stdout=said)
    assert "Purged: 1 conversations with 7 messages." in said.getvalue()
    assert "30 days (DELETED_DAYS)" in said.getvalue()
    assert Conversation.objects.get().title == "kept 0"
    call_command("purge", stdout=said)
    assert "Purged: 0 conversations" in said.getvalue()


async def test_the_first_page_of_the_admin_shows_the_last_purge(parley: Any, mona: Any) -> None:
    as_mona = await Client(parley, mona).sign_in()
    await Purge.objects.acreate(
        day=timezone.now().date(), last_at=timezone.now(), conversations=3, messages=12
    )
    page = (await as_mona.get("/admin/")).body.decode()
    assert "3 conversations with 12 messages" in page
