"""The review desk with a million messages: what it asks of the database stays the same, and is in an index.

How long it takes is measured by ``benchmarks/admin_pages.py``; here a plan or a query too many fails.
"""

import re

import pytest
from django.conf import settings
from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from chat import words
from chat.models import Conversation, Message, Run

LIST, RUNS, USERS = "/admin/chat/conversation/", "/admin/chat/run/", "/admin/accounts/user/"
TABLES = ("chat_conversation", "chat_message", "chat_run", "chat_runevent", "chat_words_entry")


@pytest.fixture
def small(db: None) -> None:
    fill(60, 600)


@pytest.fixture
def moderator(small: None) -> Client:
    client = Client()
    client.force_login(User.objects.get(username="moderator"))
    return client


def fill(conversations: int, messages: int) -> None:
    call_command("fixture_large", conversations=conversations, messages=messages, verbosity=0)


def pages() -> dict[str, str]:
    """Each kind of page, with what makes it costly."""
    conversation = Conversation.objects.filter(deleted_at=None).order_by("-updated_at").first()
    run = Run.objects.filter(conversation=conversation).first()
    assert conversation is not None
    assert run is not None
    word = conversation.title.split()[0]
    when = "{0}__year=2026&{0}__month=1"
    return {
        "list": LIST,
        "list, last page": f"{LIST}?p=2",
        "list, turned round": f"{LIST}?o=3",
        "list, of a month": f"{LIST}?{when.format('updated_at')}",
        "list, of an agent": f"{LIST}?agent=chat_assistant",
        "list, of an answer": f"{LIST}?answer=failed",
        "list, of an owner": f"{LIST}?owner__id__exact={conversation.owner_id}",
        "search": f"{LIST}?q={word}",
        "search, an owner": f"{LIST}?q=member0001",
        "search, an id": f"{LIST}?q={conversation.pk}",
        "transcript": f"{LIST}{conversation.pk}/change/",
        "runs": RUNS,
        "runs, by duration": f"{RUNS}?o=-6",
        "runs, of a month": f"{RUNS}?{when.format('created_at')}",
        "runs, failed": f"{RUNS}?status=failed",
        "runs, of a code": f"{RUNS}?code=unavailable",
        "runs, of a conversation": f"{RUNS}?conversation__id__exact={conversation.pk}",
        "runs, of an owner": f"{RUNS}?q=member0001",
        "run": f"{RUNS}{run.pk}/change/",
    }


def asked(client: Client, path: str) -> list[str]:
    """The SELECTs behind a page."""
    with CaptureQueriesContext(connection) as captured:
        answer = client.get(path)
    assert answer.status_code == 200, path
    return [query["sql"] for query in captured if query["sql"].lstrip().startswith(("SELECT", "WITH"))]


def test_more_rows_are_no_more_queries(moderator: Client) -> None:
    few = {kind: len(asked(moderator, path)) for kind, path in pages().items()}
    User.objects.all().delete()
    fill(200, 2400)
    moderator.force_login(User.objects.get(username="moderator"))
    many = {kind: len(asked(moderator, path)) for kind, path in pages().items()}
    assert few == many
    assert max(few.values()) <= 14


def test_a_longer_page_is_no_more_queries(moderator: Client) -> None:
    """A row brings neither its owner, nor its messages, nor its last run by a query of its own."""
    conversations = Conversation.objects.filter(deleted_at=None)
    some = list(conversations.values_list("pk", flat=True)[:5])
    many = len(asked(moderator, LIST))
    conversations.exclude(pk__in=some).update(deleted_at="2026-01-01T00:00:00Z")
    assert len(asked(moderator, LIST)) == many


def test_no_page_reads_a_whole_table(moderator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat.admin.lists.LIST_BOUND", 5)  # so that a page's rows are few of the table's
    whole = {
        (kind, sql) for kind, path in pages().items() for sql in asked(moderator, path) if whole_tables(sql)
    }
    assert not whole


INDEXES = {
    "list": "chat_conversation_activity",
    "list, of a month": "chat_conversation_activity",
    "list, of an agent": "chat_conversation_agent",
    "list, of an owner": "chat_conversation_sidebar",
    "runs": "chat_run_newest",
    "runs, of a month": "chat_run_newest",
    "runs, failed": "chat_run_of_status",
    "runs, of a code": "chat_run_of_code",
    "list, of an answer": "chat_run_of_status",
}


def test_a_list_comes_out_of_its_index_in_order(moderator: Client) -> None:
    found = pages()
    for kind, index in INDEXES.items():
        listed = [sql for sql in asked(moderator, found[kind]) if "LIMIT" in sql and "ORDER BY" in sql]
        plans = [plan(sql) for sql in listed]
        if settings.ON_SQLITE:
            assert any(index in found for found in plans), (kind, plans)
        else:  # of so few rows it takes whichever index is smaller; none is sorted afterwards
            assert not any("Sort" in found or "Seq Scan" in found for found in plans), (kind, plans)


def test_the_search_is_in_the_index_of_words(moderator: Client) -> None:
    (sql,) = [sql for sql in asked(moderator, pages()["search"]) if "chat_words_entry" in sql]
    index = "VIRTUAL TABLE INDEX" if settings.ON_SQLITE else "chat_words_words"
    sql = sql.partition("ORDER BY")[0]  # of so few entries PostgreSQL would rather read the newest ones
    assert index in plan(sql)


def plan(sql: str) -> str:
    """How the database would go about it, had it no other way than an index where there is one."""
    with connection.cursor() as cursor:
        if settings.ON_SQLITE:
            cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
            return "\n".join(row[3] for row in cursor.fetchall())
        # With so few rows PostgreSQL reads the table: forbidden, it does so only where nothing else helps.
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_sort = off")
        cursor.execute(f"EXPLAIN {sql}")
        found = "\n".join(row[0] for row in cursor.fetchall())
        cursor.execute("SET LOCAL enable_seqscan = on")
        cursor.execute("SET LOCAL enable_sort = on")
        return found


def whole_tables(sql: str) -> list[str]:
    """The tables of ours that a query reads from one end to the other."""
    whole = (
        r"^SCAN (\w+)\b(?! USING INDEX| USING COVERING INDEX| VIRTUAL TABLE)" if settings.ON_SQLITE else ""
    )
    found = re.findall(whole or r"Seq Scan on (\w+)", plan(sql), flags=re.MULTILINE)
    aliases = {alias: table for table, alias in re.findall(r'"?(chat_\w+)"? (?:AS )?"?(\w+)"?', sql)}
    return [name for name in found if name in TABLES or aliases.get(name) in TABLES]


def test_a_table_that_is_read_whole_would_be_noticed(small: None) -> None:
    assert whole_tables(str(Run.objects.filter(deltas=3).query)) == ["chat_run"]
    assert whole_tables('SELECT COUNT(*) FROM "chat_message" WHERE "text" LIKE \'%x%\'') == ["chat_message"]


# --- the index of words -----------------------------------------------------------------------------


def test_every_message_and_title_has_its_words_and_forgets_them_with_it(small: None) -> None:
    """Fails where a migration made a table of them anew on SQLite: it ends with words.create_triggers."""
    assert count("source") == Conversation.objects.count() + Message.objects.count()
    Message.objects.filter(text="").update(text="")
    changed = Conversation.objects.first()
    assert changed is not None
    Conversation.objects.filter(pk=changed.pk).update(title="zyzzyva", deleted_at=None)
    assert words.conversations_saying("zyzzyva") == [changed.pk]
    User.objects.all().delete()
    assert count("source") == 0
    assert words.conversations_saying("zyzzyva") == []


def count(distinct: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT COUNT(DISTINCT {distinct}) FROM chat_words_entry")
        return int(cursor.fetchone()[0])


@pytest.mark.parametrize(
    "text",
    [
        " ".join(f"{chr(0x10330 + n % 20)}{chr(0x1D400 + n % 50)}{n}" for n in range(110_000)),
        "<a-b>" * 200_000,
        "x" * 1_000_000,
        "http://example.org/" + "/".join(map(str, range(150_000))),
    ],
    ids=["wide letters", "tags", "one word", "an address"],
)
def test_the_longest_message_is_stored_and_its_end_is_found(small: None, text: str) -> None:
    conversation = Conversation.objects.filter(deleted_at=None).first()
    assert conversation is not None
    Message.objects.create(conversation=conversation, role="user", text=f"{text} thefinalword")
    assert words.conversations_saying("thefinalword") == [conversation.pk]


# --- the fixture ------------------------------------------------------------------------------------


def test_the_fixture_is_as_large_as_it_says_and_lifelike(small: None) -> None:
    assert Conversation.objects.count() == 60
    assert 600 <= Message.objects.count() <= 602  # the last turn is a whole one
    statuses = set(Run.objects.values_list("status", flat=True))
    assert {"completed", "stopped", "failed"} <= statuses
    assert not Run.objects.active().exists()
    siblings = Message.objects.filter(role="assistant").values_list("parent", flat=True)
    assert len(set(siblings)) < len(siblings)
    assert Group.objects.get(name="Moderators").user_set.get().username == "moderator"
    assert not any(user.has_usable_password() for user in User.objects.all())


def test_the_fixture_refuses_a_database_with_somebody_in_it(db: None) -> None:
    User.objects.create(username="alice")
    with pytest.raises(CommandError, match="users in it"):
        fill(60, 600)
    assert User.objects.count() == 1
    assert not Conversation.objects.exists()
