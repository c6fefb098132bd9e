"""Full-text search for agents: a member's own messages with one agent that share words with a query."""

import uuid
from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import QuerySet

from chat.models import Conversation, Message, Run
from chat.search.index import index_due
from chat.search.terms import terms_of

QUERY_READ = 4_000  # characters of a query
QUERY_TERMS = 8
# Of one term: the newest of its messages that count, and the entries of the index that are looked at for
# them. A search costs the same with any number of messages. A term in fewer texts is found in all of them.
RECALLED, LOOKED_AT = 100, 2_000


def query_terms(query: str) -> list[str]:
    """Return the different terms of a query, at most QUERY_TERMS: long words are rarer than short ones.

    Any text is a query. Without a letter and a digit it has no terms.
    """
    found = dict.fromkeys(terms_of(query[:QUERY_READ]))
    # A sentence in a script without spaces is pairs of characters; its single last ones begin any word.
    return sorted(found, key=_is_short)[:QUERY_TERMS]


def _is_short(term: str) -> int:
    return -len(term) if term.isascii() else -2 * len(term)


def recall(owner: int, agent: str, terms: Iterable[str]) -> dict[str, list[uuid.UUID]]:
    """Return, for each term, the owner's newest messages with this agent that hold it.

    Deleted conversations are not searched. Get the messages from ``recalled_messages``.
    """
    index_due(owner)  # one batch: more would keep the thread that writes what runs store
    sql = SQLITE_RECALL if settings.ON_SQLITE else POSTGRES_RECALL
    values: dict[str, str | int] = {"owner": owner, "agent": agent, "read": LOOKED_AT, "limit": RECALLED}
    found = {}
    with transaction.atomic(), connection.cursor() as cursor:
        if not settings.ON_SQLITE:
            # A GIN index is not read in an order. Of a longer list PostgreSQL takes so many, at random.
            cursor.execute(f"SET LOCAL gin_fuzzy_search_limit = {LOOKED_AT}")
        for term in terms:
            query = f'"{owner}:{term}"' if settings.ON_SQLITE else f"'{owner}:{term}'"
            cursor.execute(sql, {**values, "query": query})
            found[term] = list(dict.fromkeys(_to_message(row[0]) for row in cursor.fetchall()))
    return found


def recalled_messages(owner: int, agent: str, ids: Iterable[uuid.UUID]) -> QuerySet[Message]:
    """Return those of the messages that may be told: of this member and agent, neither deleted nor hidden.

    A question that is being answered is left out: the agent has it already.
    """
    asked = Run.objects.active().filter(owner=owner).values("prompt")
    return Message.objects.filter(
        pk__in=list(ids),
        conversation__owner=owner,
        conversation__agent=agent,
        conversation__deleted_at=None,
        hidden_at=None,
    ).exclude(pk__in=asked)


def _to_message(value: Any) -> uuid.UUID:
    return Conversation._meta.pk.to_python(value)  # type: ignore[no-any-return]


# A title's source is its conversation. CROSS JOIN: SQLite keeps the order, and reads the index backwards
# until it has enough.
SQLITE_RECALL = """
    SELECT e.source
    FROM (
        SELECT rowid FROM chat_search_terms WHERE chat_search_terms MATCH %(query)s
        ORDER BY rowid DESC LIMIT %(read)s
    ) t
    CROSS JOIN chat_search_entry e ON e.id = t.rowid AND e.owner_id = %(owner)s
    CROSS JOIN chat_conversation c ON c.id = e.conversation_id
    WHERE c.owner_id = %(owner)s AND c.agent = %(agent)s AND c.deleted_at IS NULL AND e.source <> c.id
    ORDER BY t.rowid DESC LIMIT %(limit)s
"""
POSTGRES_RECALL = """
    WITH e AS MATERIALIZED (
        SELECT id, source, conversation_id FROM chat_search_entry
        WHERE terms @@ %(query)s::tsquery AND owner_id = %(owner)s
    )
    SELECT e.source
    FROM e
    JOIN chat_conversation c ON c.id = e.conversation_id
    WHERE c.owner_id = %(owner)s AND c.agent = %(agent)s AND c.deleted_at IS NULL AND e.source <> c.id
    ORDER BY e.id DESC LIMIT %(limit)s
"""
