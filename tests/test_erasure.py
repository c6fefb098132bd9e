"""Erasure of an account: nothing of the member is left in any table, index or file; all of others is."""

import fcntl
import logging
import sqlite3
from contextlib import closing
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.conf import settings as project
from django.contrib.admin.models import LogEntry
from django.contrib.auth import SESSION_KEY
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.core.mail import EmailMessage, get_connection
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection
from django.utils import timezone

from accounts.models import User
from accounts.sessions import SessionStore
from chat import actions, erasure, events, lifecycle, personal_data, purge
from chat.actions import Ask, send_message
from chat.endings import End
from chat.events import Fold
from chat.lifecycle import Outcome
from chat.models import AccountDeletion, Conversation, PersonRequest, Process, Run
from chat.refusals import Refusal
from chat.runs import erasing
from chat.search.found import own_hits
from chat.search.index import index_due, merge_some
from tests.conftest import make_user
from tests.support.canaries import canaries_in, canary, database_text, fill
from tests.support.client import Client
from tests.support.gemini import Gemini, Hold, Text
from tests.support.live import LiveServer
from tests.support.waiting import auntil
from tests.test_purge import conversation_of

pytestmark = pytest.mark.django_db(transaction=True)

STEPS_MAX = 2000


def make_due(user: Any) -> None:
    deletion, _is_new = erasure.request_deletion(user)
    AccountDeletion.objects.filter(pk=deletion.pk).update(due_at=timezone.now() - timedelta(seconds=1))


def erase_all() -> int:
    """Erase what is due; return the number of steps."""
    steps = 0
    while user := erasure.claim_erasure():
        for _pause in erasure.erase(user):
            steps += 1
            assert steps < STEPS_MAX
    erasure.clean_file()
    return steps


def sign_in(user: Any) -> str:
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session["canary"] = "a word"
    session.save()
    return str(session.session_key)


def write_letters(folder: Path, *recipients: list[str]) -> None:
    """Write letters to files as a site without a mail server does: one file for each list."""
    for addresses in recipients:
        with get_connection("django.core.mail.backends.filebased.EmailBackend", file_path=folder) as files:
            for address in addresses:
                EmailMessage("s", f"for {address}", to=[f"A B <{address}>"], connection=files).send()


def addresses_of(user: Any) -> list[str]:
    own = EmailAddress.objects.filter(user=user).values_list("email", flat=True)
    return [User.objects.get(pk=user.pk).email, *own]


def everything_of(user: Any, owner: str) -> None:
    """Store rows in all tables, of kept, deleted and purged conversations, with canaries in their columns."""
    conversation_of(user, f"kept {canary(owner)}", turns=2)
    actions.mark_deleted(conversation_of(user, f"deleted {canary(owner)}", turns=1))
    gone = conversation_of(user, f"purged {canary(owner)}", turns=1)
    while index_due():
        pass
    purge_conversation(gone)
    fill(user, owner)
    AccountDeletion.objects.all().delete()
    while index_due():
        pass


def purge_conversation(conversation: Conversation) -> None:
    Conversation.objects.filter(pk=conversation.pk).update(deleted_at=timezone.now() - timedelta(days=40))
    record = purge.claim_day(timedelta())
    assert record
    while purge.purge_some(record):
        pass


@pytest.fixture
def mail(tmp_path: Path, settings: Any) -> Path:
    settings.EMAIL_FILE_PATH = tmp_path / "mail"
    return tmp_path / "mail"


def redis_text() -> str:
    if not project.REDIS_URL:
        return ""
    from redis import Redis

    with Redis.from_url(project.REDIS_URL) as redis:
        keys = list(redis.scan_iter(f"*{project.REDIS_PREFIX}*"))
        return repr([(key, redis.dump(key)) for key in keys])


def files_text(folder: Path) -> str:
    return "".join(path.read_bytes().decode("latin-1") for path in folder.rglob("*") if path.is_file())


def test_nothing_of_an_erased_account_is_left_and_all_of_others_is(
    alice: Any, bob: Any, mail: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for user, owner in ((alice, "alice"), (bob, "bob")):
        everything_of(user, owner)
    for each in Conversation.objects.filter(owner=alice):  # changes that are not indexed yet
        Conversation.objects.filter(pk=each.pk).update(title=canary("alice"))
    to_alice, to_bob = addresses_of(alice), addresses_of(bob)
    write_letters(mail, to_alice, to_bob, [to_bob[0], to_alice[0], to_bob[1]])
    keys = [sign_in(alice), sign_in(bob), sign_in(alice)]
    before = database_text()
    assert len(canaries_in(before, "alice")) > 80
    of_bob = canaries_in(before, "bob")

    make_due(alice)
    assert erase_all() > 20

    after = database_text()
    assert canaries_in(after, "alice") == set()
    assert canaries_in(after, "bob") == of_bob
    assert list(Session.objects.values_list("pk", flat=True)) == [keys[1]]
    assert not User.objects.filter(pk=alice.pk).exists()
    written = files_text(mail)
    assert "zqalice" not in written
    assert written.count("To: A B <") == 4
    assert all(f"for {address}" in written for address in to_bob)
    assert "zqalice" not in redis_text()
    assert "zqalice" not in caplog.text
    if project.ON_SQLITE:
        assert b"zqalice" not in sqlite_bytes()
        assert b"zqbob" in sqlite_bytes()


def sqlite_bytes() -> bytes:
    """Return the database's file with its log."""
    name = str(connection.settings_dict["NAME"])
    return Path(name).read_bytes() + Path(f"{name}-wal").read_bytes()


@pytest.mark.skipif(not project.ON_SQLITE, reason="SQLite's file")
def test_a_large_file_is_rewritten_when_no_server_uses_it(
    alice: Any, bob: Any, mail: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "VACUUM_MAX_BYTES", 0)
    for number in range(400):  # alternately in the same pages
        owner = (alice, bob)[number % 2]
        Conversation.objects.create(owner=owner, agent="a", title=canary(owner.username))
    for found in Conversation.objects.order_by("?"):  # too long for their places: pages are split
        Conversation.objects.filter(pk=found.pk).update(title=found.title * 15)
    everything_of(alice, "alice")
    make_due(alice)
    erase_all()
    assert canaries_in(database_text(), "alice") == set()
    assert erasure.has_traces()
    assert sqlite_bytes().count(b"zqalice") < 500  # copies in pages that hold other rows, perhaps none
    erasure.clean_file(is_alone=True)
    assert not erasure.has_traces()
    assert b"zqalice" not in sqlite_bytes()
    assert len(canaries_in(database_text(), "bob")) == 200


@pytest.mark.skipif(not project.ON_SQLITE, reason="FTS5")
@pytest.mark.parametrize("others", [True, False])
def test_a_merge_drops_the_terms_of_deleted_texts(alice: Any, bob: Any, others: bool) -> None:
    def index_all() -> None:
        while index_due():
            pass

    if others:
        conversation_of(bob, "kept", turns=1)
    gone = conversation_of(alice, "xylophone", turns=1)
    index_all()
    purge_conversation(gone)
    index_all()
    assert "xylophone" in database_text()  # in an older piece of the index
    for begin in (True, *[False] * 9):
        merge_some(begin=begin)
    assert "xylophone" not in database_text()
    assert len(own_hits(bob, "kept", None, 30)[0]) == (4 if others else 0)


@pytest.mark.skipif(not project.ON_SQLITE, reason="SQLite's file")
def test_the_file_is_cleaned_later_while_it_is_read(alice: Any, mail: Path) -> None:
    make_due(alice)
    user = erasure.claim_erasure()
    assert user
    for _pause in erasure.erase(user):
        pass
    reader = connection.copy()
    try:
        with reader.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT count(*) FROM accounts_user")
            with pytest.raises(OperationalError, match=r"in use|locked"):
                erasure.clean_file()
            cursor.execute("ROLLBACK")
    finally:
        reader.close()
    assert erasure.has_traces()
    erasure.clean_file()
    assert not erasure.has_traces()


@pytest.mark.skipif(not project.ON_SQLITE, reason="SQLite's file")
def test_prepare_rewrites_a_file_with_traces_unless_a_server_uses_it(tmp_path: Path) -> None:
    server = LiveServer(tmp_path).prepare()

    def figures() -> tuple[int, int]:
        with closing(sqlite3.connect(tmp_path / "parley.sqlite3")) as file:
            return tuple(
                file.execute(f"PRAGMA {n}").fetchone()[0] for n in ("user_version", "freelist_count")
            )

    with closing(sqlite3.connect(tmp_path / "parley.sqlite3")) as file:
        file.executescript("CREATE TABLE x (y); INSERT INTO x VALUES (zeroblob(99999)); DROP TABLE x;")
        file.execute("PRAGMA user_version=2")
    assert figures()[1] > 20
    with (tmp_path / "parley.sqlite3.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = server.manage("prepare")
        assert (said.returncode, figures()[0]) == (0, 2)
        assert "removed from the database's file later: Another Parley server is using" in said.stderr
    assert server.manage("prepare").returncode == 0
    assert figures() == (0, 0)


def test_others_still_find_their_texts(alice: Any, bob: Any) -> None:
    for user in (alice, bob):
        conversation_of(user, "xylophone")
    while index_due():
        pass
    make_due(alice)
    erase_all()
    assert len(own_hits(bob, "xylophone", None, 30)[0]) > 3


def test_every_table_has_a_row_of_the_member_in_that_test(alice: Any) -> None:
    conversation_of(alice, "q", turns=1)
    fill(alice, "alice")
    for data in personal_data.declarations:
        if isinstance(data.path, str):
            assert any(rows.exists() for rows in data.rows(alice)), (data.model, data.path)


def test_an_erasure_that_was_killed_anywhere_goes_on(
    alice: Any, bob: Any, mail: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "PURGED_AT_ONCE", 2)
    everything_of(alice, "alice")
    conversation_of(bob, "kept")
    make_due(alice)
    starts = 0
    while User.objects.filter(pk=alice.pk).exists():
        AccountDeletion.objects.filter(worked_at__isnull=False).update(
            worked_at=timezone.now() - timedelta(hours=1)
        )
        user = erasure.claim_erasure()
        assert user
        steps = erasure.erase(user)
        for _ in range(starts + 1):  # each process lives for one step more
            if next(steps, None) is None:
                break
        starts += 1
        assert starts < STEPS_MAX
    assert starts > 5
    erasure.clean_file()
    assert canaries_in(database_text(), "alice") == set()
    assert Conversation.objects.get().owner == bob


def test_one_process_at_a_time_erases(alice: Any, bob: Any) -> None:
    make_due(alice)
    make_due(bob)
    assert erasure.claim_erasure() == alice
    assert erasure.claim_erasure() is None
    AccountDeletion.objects.filter(pk=bob.pk).update(due_at=timezone.now() - timedelta(days=1))
    assert erasure.claim_erasure() is None
    AccountDeletion.objects.filter(pk=alice.pk).update(worked_at=timezone.now() - timedelta(minutes=3))
    assert erasure.claim_erasure() == bob


def test_a_deletion_is_not_due_before_seven_days(alice: Any) -> None:
    deletion, is_new = erasure.request_deletion(alice)
    assert is_new
    assert deletion.due_at - deletion.requested_at == timedelta(days=7)
    assert erasure.claim_erasure() is None
    again, is_new = erasure.request_deletion(alice)
    assert not is_new
    assert again.due_at == deletion.due_at
    assert User.objects.get(pk=alice.pk).is_active


def test_a_cancelled_deletion_erases_nothing(alice: Any) -> None:
    make_due(alice)
    assert erasure.cancel_deletion(alice)
    assert not erasure.cancel_deletion(alice)
    assert erasure.claim_erasure() is None


def test_an_erasure_that_has_begun_is_not_cancelled(alice: Any) -> None:
    make_due(alice)
    assert erasure.claim_erasure()
    assert not User.objects.get(pk=alice.pk).is_active
    assert not erasure.cancel_deletion(alice)


def test_the_owner_hands_over_first(alice: Any, bob: Any) -> None:
    olga = make_user("olga", is_staff=True, is_superuser=True)
    with pytest.raises(Refusal) as refused:
        erasure.request_deletion(olga)
    assert (refused.value.status, refused.value.code) == (409, "site_owner")
    said = StringIO()
    call_command("hand_over", "ALICE", stdout=said)
    assert said.getvalue() == (
        "alice owns this site now, and is staff.\nolga no longer owns it, and stays staff.\n"
    )
    assert User.objects.get(is_superuser=True) == alice
    assert User.objects.get(username="olga").is_staff
    make_due(User.objects.get(username="olga"))
    erase_all()
    assert not User.objects.filter(username="olga").exists()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nobody", "There is no user nobody."),
        ("olga", "olga is the owner already."),
        ("alice", "The account alice is about to be deleted."),
        ("bob", "The account bob is not active."),
    ],
)
def test_some_members_cannot_become_the_owner(alice: Any, bob: Any, name: str, reason: str) -> None:
    make_user("olga", is_staff=True, is_superuser=True)
    erasure.request_deletion(alice)
    User.objects.filter(pk=bob.pk).update(is_active=False)
    with pytest.raises(CommandError, match=reason):
        call_command("hand_over", name)
    assert User.objects.get(is_superuser=True).username == "olga"


def test_a_member_who_became_the_owner_meanwhile_is_not_erased(alice: Any) -> None:
    make_due(alice)
    User.objects.filter(pk=alice.pk).update(is_superuser=True)
    assert erasure.claim_erasure() is None
    assert User.objects.get(pk=alice.pk).is_active
    assert not AccountDeletion.objects.exists()


def test_requests_of_others_no_longer_name_the_decider(alice: Any, bob: Any) -> None:
    conversation_of(bob, "q", turns=1)
    PersonRequest.objects.update(decided_by=alice)
    make_due(alice)
    erase_all()
    assert PersonRequest.objects.get().decided_by is None


def test_the_admins_log_no_longer_names_the_member(alice: Any, mona: Any) -> None:
    EmailAddress.objects.create(user=alice, email="alice@example.org")
    for thing in (alice, EmailAddress.objects.get()):
        LogEntry.objects.create(
            user=mona,
            content_type=ContentType.objects.get_for_model(thing),
            object_id=str(thing.pk),
            object_repr=str(thing),
            action_flag=2,
            change_message="alice",
        )
    make_due(alice)
    erase_all()
    texts = LogEntry.objects.values_list("object_repr", "change_message", "user")
    assert list(texts) == [("", "", mona.pk)] * 2


def test_an_app_can_add_what_no_declaration_says(alice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[Any, bool]] = []

    def forget(user: Any) -> None:
        called.append((user, connection.in_atomic_block))

    monkeypatch.setattr(personal_data, "on_erasure", [forget])
    make_due(alice)
    erase_all()
    assert called == [(alice, True)]


def test_a_conversation_that_a_late_request_began_is_erased_too(
    alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Conversation] = []

    def start_and_index() -> bool:
        """Begin a conversation after the others are purged."""
        if not started:
            started.append(conversation_of(alice, "late words", turns=1))
        return index_due()

    monkeypatch.setattr(erasure, "index_due", start_and_index)
    make_due(alice)
    erase_all()
    assert started
    assert not User.objects.exists()
    assert "late" not in database_text()


async def test_a_server_stops_the_members_answer_and_erases(
    as_alice: Client, as_bob: Client, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    from asgiref.sync import sync_to_async

    gemini.on("slow", [Text("a"), Hold(), Text("b")])
    await as_bob.ask("Hello")
    monkeypatch.setattr(erasing, "ERASE_SECONDS", 0.05)
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "slow"}) as asked:
        await asked.until("text")
        await sync_to_async(make_due)(as_alice.user)
        duty = asyncio.ensure_future(erasing.erase_regularly())
        try:
            seen = await asked.all_events()
            assert "run.stopped" in [event.name for event in seen]

            async def is_gone() -> bool:
                return not await User.objects.filter(pk=as_alice.user.pk).aexists()

            await auntil(is_gone)
        finally:
            duty.cancel()
    assert await Run.objects.aget()
    assert (await as_alice.get("/api/v1/conversations")).status == 401
    assert (await as_bob.get("/api/v1/conversations")).status == 200


def test_a_run_that_is_being_stopped_is_waited_for(alice: Any) -> None:
    process = Process.objects.create(host="h", pid=1, boot_id="b", version="v")
    run = send_message(alice, Ask(query="q"), agents=["a"])
    claimed = lifecycle.claim(run.pk, process.pk)
    assert claimed
    make_due(alice)
    user = erasure.claim_erasure()
    assert user
    steps = erasure.erase(user)
    assert [next(steps) for _ in range(4)] == [erasure.STEP_PAUSE] + [erasure.RUN_PAUSE] * 3
    assert Run.objects.get().stop_requested_at
    assert lifecycle.end(claimed[0], Outcome(End(events.STOPPED, "deleted")), Fold([]))
    for pause in steps:
        assert pause < erasure.RUN_PAUSE
    assert not Run.objects.exists()


def test_a_queued_run_ends_with_the_deletion(alice: Any) -> None:
    run = send_message(alice, Ask(query="q"), agents=["a"])
    make_due(alice)
    user = erasure.claim_erasure()
    assert user
    steps = erasure.erase(user)
    assert next(steps)
    assert not lifecycle.stop_queued(run.pk)  # it has ended
    for _pause in steps:
        pass
    assert not Run.objects.exists()
