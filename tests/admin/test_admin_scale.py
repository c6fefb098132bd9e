"""The admin with many messages: query counts do not grow, and every query uses an index.

``benchmarks/admin_pages.py`` measures the time of a page; these tests look at query counts and plans only.
"""

import re

import pytest
from django.conf import settings
from django.contrib.auth.models import Group
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from benchmarks.fixture_large import fill
from chat.models import Conversation, Message, Run
from chat.moderation import grants
from chat.moderation.groups import AUDITOR, SENIOR
from chat.search.found import conversations_saying
from chat.search.index import index_due

SEARCH, AUDIT = "/admin/search/", "/admin/audit/"
LIST, RUNS, USERS = "/admin/chat/conversation/", "/admin/chat/run/", "/admin/accounts/user/"
AGENTS, CALLS = "/admin/agents/", "/admin/calls/livecall/"
TABLES = (
    "chat_conversation", "chat_message", "chat_run", "chat_runevent", "chat_search_entry",
    "moderation_accessgrant", "moderation_auditevent", "moderation_reviewitem", "moderation_report",
)  # fmt: skip
QUERIES_MAX = 15
# The grant, again for the bar, whether the conversation is sealed, the audit's head; and the files.
QUERIES_OF_A_LOOK = 5


@pytest.fixture
def small_database(db: None) -> None:
    fill(60, 600)


@pytest.fixture
def moderator(small_database: None) -> Client:
    return sign_in()


def sign_in() -> Client:
    """Return the moderator's client, with the grants that ``pages`` needs, and the right to see the audit."""
    client, moderator = Client(), User.objects.get(username="moderator")
    moderator.groups.add(Group.objects.get(name=AUDITOR))
    client.force_login(moderator)
    grants.open_with_reason(moderator, newest_conversation(), "report", "")
    grants.open_search(moderator, "report", "")
    return client


def newest_conversation() -> Conversation:
    found = Conversation.objects.filter(deleted_at=None).order_by("-updated_at").first()
    assert found is not None
    return found


def pages() -> dict[str, str]:
    """Return the path of each kind of page, with the parameters that make it expensive.

    That of the search of texts is followed by the words, which are posted.
    """
    conversation = newest_conversation()
    run = Run.objects.filter(conversation=conversation).first()
    assert run is not None
    word = conversation.title.split()[0]
    when = "{0}__gte=2026-01-01&{0}__lt=2026-02-01"
    return {
        "list": LIST,
        "list, last page": f"{LIST}?p=2",
        "list, reversed": f"{LIST}?o=0",
        "list, one month": f"{LIST}?{when.format('updated_at')}",
        "list, one agent": f"{LIST}?agent=chat_assistant",
        "list, failed": f"{LIST}?answer=failed",
        "list, one owner": f"{LIST}?owner__id__exact={conversation.owner_id}",
        "list, deleted": f"{LIST}?deleted=yes",
        "search": f"{SEARCH}#{word}",
        "search, owner": f"{LIST}?q=member0001",
        "search, id": f"{LIST}?q={conversation.pk}",
        "transcript": f"{LIST}{conversation.pk}/change/",
        "transcript, from a search": f"{LIST}{conversation.pk}/change/?q={word}",
        "facts": f"/admin/open/{conversation.pk}/",
        "facts, of another": f"/admin/open/{Conversation.objects.exclude(pk=conversation.pk)[0].pk}/",
        "users": USERS,
        "user": f"{USERS}{conversation.owner_id}/change/",
        "runs": RUNS,
        "runs, sorted by duration": f"{RUNS}?o=-6",
        "runs, one month": f"{RUNS}?{when.format('created_at')}",
        "runs, failed": f"{RUNS}?status=failed",
        "runs, one code": f"{RUNS}?code=unavailable",
        "runs, one conversation": f"{RUNS}?conversation__id__exact={conversation.pk}",
        "runs, one owner": f"{RUNS}?q=member0001",
        "run": f"{RUNS}{run.pk}/change/",
        "calls": CALLS,
        "calls, one month": f"{CALLS}?{when.format('opened_at')}",
        "audit": AUDIT,
        "audit, one action": f"{AUDIT}?action=grant.open",
        "audit, one actor": f"{AUDIT}?actor=moderator",
        "audit, one member": f"{AUDIT}?member=member0001",
        "audit, one object": f"{AUDIT}?object={conversation.pk}",
        "agents": AGENTS,
        "agent": f"{AGENTS}chat_assistant/",
    }


def selects_of(client: Client, path: str) -> list[str]:
    """Return the SELECT statements of a page."""
    address, _, words = path.partition("#")
    with CaptureQueriesContext(connection) as captured:
        answer = client.post(address, {"words": words}) if words else client.get(address)
    assert answer.status_code == 200, path
    return [query["sql"] for query in captured if query["sql"].lstrip().startswith(("SELECT", "WITH"))]


def test_query_counts_do_not_grow_with_the_tables(moderator: Client) -> None:
    few = {kind: len(selects_of(moderator, path)) for kind, path in pages().items()}
    User.objects.all().delete()
    fill(200, 2400)
    moderator = sign_in()
    many = {kind: len(selects_of(moderator, path)) for kind, path in pages().items()}
    assert few == many
    for kind, number in few.items():
        assert number <= QUERIES_MAX + QUERIES_OF_A_LOOK * kind.startswith("transcript"), kind


def test_query_counts_do_not_grow_with_the_rows_of_a_page(moderator: Client) -> None:
    """Owners, messages and last runs are not loaded by one query for each row."""
    conversations = Conversation.objects.filter(deleted_at=None)
    some = list(conversations.values_list("pk", flat=True)[:5])
    many = len(selects_of(moderator, LIST))
    conversations.exclude(pk__in=some).update(deleted_at="2026-01-01T00:00:00Z")
    assert len(selects_of(moderator, LIST)) == many


def test_no_page_reads_a_whole_table(moderator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat.admin.lists.LIST_BOUND", 5)  # so that a page has only a few of a table's rows
    whole = {
        (kind, sql)
        for kind, path in pages().items()
        for sql in selects_of(moderator, path)
        if full_scans(sql)
    }
    assert not whole


INDEXES = {
    "list": "chat_conversation_activity",
    "list, one month": "chat_conversation_activity",
    "list, one agent": "chat_conversation_agent",
    "list, one owner": "chat_conversation_changes",  # sorted afterwards: one member has thousands at most
    "runs": "chat_run_newest",
    "runs, one month": "chat_run_newest",
    "runs, failed": "chat_run_of_status",
    "runs, one code": "chat_run_of_code",
    "list, failed": "chat_run_of_status",
    "calls": "calls_newest",
    "calls, one month": "calls_newest",
    "agent": "chat_run_of_status",
}


def test_lists_are_read_from_an_index_in_order(moderator: Client) -> None:
    found = pages()
    for kind, index in INDEXES.items():
        listed = [sql for sql in selects_of(moderator, found[kind]) if "LIMIT" in sql and "ORDER BY" in sql]
        plans = [plan(sql) for sql in listed]
        if settings.ON_SQLITE:
            assert any(index in found for found in plans), (kind, plans)
        else:  # with so few rows it takes the smallest index; only what belongs to one row is sorted
            of_list = [found.partition("SubPlan")[0] for found in plans]
            assert not any("Sort" in found for found in of_list), (kind, plans)
            assert not any("Seq Scan" in found for found in plans), (kind, plans)


def test_search_uses_the_full_text_index(moderator: Client) -> None:
    (sql,) = [sql for sql in selects_of(moderator, pages()["search"]) if "chat_search_entry" in sql]
    index = "VIRTUAL TABLE INDEX" if settings.ON_SQLITE else "chat_search_entry_terms"
    sql = sql.partition("ORDER BY")[0]  # with so few entries PostgreSQL would read the newest ones instead
    assert index in plan(sql)


def plan(sql: str) -> str:
    """Return the database's plan for a query, with an index wherever one can be used."""
    with connection.cursor() as cursor:
        if settings.ON_SQLITE:
            cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
            return "\n".join(row[3] for row in cursor.fetchall())
        # With so few rows PostgreSQL scans tables. Disabled, a scan is used only where no index can be.
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_sort = off")
        cursor.execute(f"EXPLAIN {sql}")
        found = "\n".join(row[0] for row in cursor.fetchall())
        cursor.execute("SET LOCAL enable_seqscan = on")
        cursor.execute("SET LOCAL enable_sort = on")
        return found


def full_scans(sql: str) -> list[str]:
    """Return our tables that a query reads from end to end."""
    scan = r"^SCAN (\w+)\b(?! USING INDEX| USING COVERING INDEX| VIRTUAL TABLE)" if settings.ON_SQLITE else ""
    found = re.findall(scan or r"Seq Scan on (\w+)", plan(sql), flags=re.MULTILINE)
    aliases = {
        alias: table for table, alias in re.findall(r'"?((?:chat|moderation)_\w+)"? (?:AS )?"?(\w+)"?', sql)
    }
    return [name for name in found if name in TABLES or aliases.get(name) in TABLES]


def test_full_table_scans_are_detected(small_database: None) -> None:
    assert full_scans(str(Run.objects.filter(deltas=3).query)) == ["chat_run"]
    assert full_scans('SELECT COUNT(*) FROM "chat_message" WHERE "text" LIKE \'%x%\'') == ["chat_message"]


# --- the full-text index ----------------------------------------------------------------------------


def test_the_full_text_index_follows_messages_and_titles(small_database: None) -> None:
    """On SQLite, a migration that recreates one of the tables must end with ``create_triggers``."""
    take_in()
    assert count("source") == Conversation.objects.count() + Message.objects.exclude(text="").count()
    changed = Conversation.objects.first()
    assert changed is not None
    Conversation.objects.filter(pk=changed.pk).update(title="zyzzyva", deleted_at=None)
    assert conversations_saying("zyzzyva") == [changed.pk]
    User.objects.all().delete()
    take_in()
    assert count("source") == 0
    assert conversations_saying("zyzzyva") == []


def take_in() -> None:
    while index_due():
        pass


def count(distinct: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT COUNT(DISTINCT {distinct}) FROM chat_search_entry")
        return int(cursor.fetchone()[0])


@pytest.mark.parametrize(
    "text",
    [
        " ".join(f"{chr(0x10330 + n % 20)}{chr(0x1D400 + n % 50)}{n}" for n in range(110_000)),
        "<a-b>" * 200_000,
        "x" * 1_000_000,
        "http://example.org/" + "/".join(map(str, range(150_000))),
    ],
    ids=["wide letters", "tags", "one word", "URL"],
)
def test_the_longest_message_is_indexed_to_its_end(small_database: None, text: str) -> None:
    conversation = Conversation.objects.filter(deleted_at=None).first()
    assert conversation is not None
    Message.objects.create(conversation=conversation, role="user", text=f"{text} thefinalword")
    assert conversations_saying("thefinalword") == [conversation.pk]


# --- the fixture_large command ----------------------------------------------------------------------


def test_fixture_large_creates_the_requested_size_and_realistic_data(small_database: None) -> None:
    assert Conversation.objects.count() == 60
    assert 600 <= Message.objects.count() <= 602  # the last turn is a whole one
    statuses = set(Run.objects.values_list("status", flat=True))
    assert {"completed", "stopped", "failed"} <= statuses
    assert not Run.objects.active().exists()
    siblings = Message.objects.filter(role="assistant").values_list("parent", flat=True)
    assert len(set(siblings)) < len(siblings)
    assert Group.objects.get(name=SENIOR).user_set.get().username == "moderator"
    assert not any(user.has_usable_password() for user in User.objects.all())


def test_fixture_large_refuses_a_database_with_users(db: None) -> None:
    User.objects.create(username="alice")
    with pytest.raises(ValueError, match="users in it"):
        fill(60, 600)
    assert User.objects.count() == 1
    assert not Conversation.objects.exists()
