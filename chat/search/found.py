"""Full-text searches: a member's own titles and messages, and moderators' conversations of all members."""

import unicodedata
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models.functions import Substr

from accounts.models import User
from chat.models import Conversation, Message
from chat.search.index import index_due
from chat.search.terms import Phrase, marks_in, phrases_of

MATCHES = 500  # entries that a moderator's search reads, the newest first
# Shorter words find only whole words: a tenth of all words begin with "a".
PREFIX_LENGTH = 3
OWN_PREFIX_LENGTH = 2
OWN_BATCHES = 5  # of due texts that a search takes in first

SCANNED = 50_000  # characters of a message in which a hit is looked for, to show it
BEFORE_HIT, SNIPPET = 40, 180  # characters

NEWEST = (2**62, uuid.UUID(int=0))


@dataclass(frozen=True, slots=True)
class Hit:
    """Message or title (then ``message`` and ``role`` are None) that a search found."""

    conversation: uuid.UUID
    title: str
    message: uuid.UUID | None
    role: str | None
    snippet: list[dict[str, Any]]  # "text" in pieces; "hit" is True for the words that were found
    created_at: datetime


def own_hits(
    member: User, text: str, after: tuple[int, uuid.UUID] | None, limit: int
) -> tuple[list[Hit], tuple[int, uuid.UUID] | None]:
    """Return the member's newest hits after a place, and the place of the last one if there are more.

    Deleted conversations and hidden messages are not searched.
    """
    phrases = phrases_of(text, OWN_PREFIX_LENGTH)
    if not phrases:
        return [], None
    for _ in range(OWN_BATCHES):
        if not index_due(member.pk):
            break
    rows = _own_rows(member.pk, phrases, after or NEWEST, limit + 1)
    page = rows[:limit]
    last = page[-1] if len(rows) > limit else None
    # A long message has several entries, one after another.
    sources = dict.fromkeys((source, conversation) for _entry, source, conversation in page)
    return _described(list(sources), phrases), last and (last[0], last[1])


def conversations_saying(text: str) -> list[uuid.UUID]:
    """Return the conversations with every term of ``text`` in their title or in one message.

    A term is a word or, "in quotes", several words in this order. The search covers the newest MATCHES
    matching entries. The result has no order, includes deleted conversations, and is empty without a term.
    """
    phrases = phrases_of(text, PREFIX_LENGTH)
    if not phrases:
        return []
    index_due()
    sql, query = (
        (SQLITE_SEARCH, _fts5_query(phrases)) if settings.ON_SQLITE else (POSTGRES_SEARCH, _ts_query(phrases))
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, [query, MATCHES])
        return [_to_uuid(found) for found in {row[0] for row in cursor.fetchall()}]


def _own_rows(
    owner: int, phrases: Sequence[Phrase], after: tuple[int, uuid.UUID], limit: int
) -> list[tuple[int, uuid.UUID, uuid.UUID]]:
    sql, query = (
        (SQLITE_OWN, _fts5_query(phrases, f"{owner}:"))
        if settings.ON_SQLITE
        else (POSTGRES_OWN, _ts_query(phrases, f"{owner}:"))
    )
    entry, source = after
    values = {"query": query, "owner": owner, "entry": entry, "source": _from_uuid(source), "limit": limit}
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return [(entry, _to_uuid(source), _to_uuid(found)) for entry, source, found in cursor.fetchall()]


def _fts5_query(phrases: Iterable[Phrase], prefix: str = "") -> str:
    return " AND ".join(
        f'"{" ".join(prefix + term for term in phrase.terms)}"{"*" if phrase.is_prefix else ""}'
        for phrase in phrases
    )


def _ts_query(phrases: Iterable[Phrase], prefix: str = "") -> str:
    found = (
        " <-> ".join(f"'{prefix}{term}'" for term in phrase.terms) + (":*" if phrase.is_prefix else "")
        for phrase in phrases
    )
    return " & ".join(f"({each})" for each in found)


def _described(sources: list[tuple[uuid.UUID, uuid.UUID]], phrases: Sequence[Phrase]) -> list[Hit]:
    titles = Conversation.objects.in_bulk([conversation for _source, conversation in sources])
    messages = Message.objects.filter(pk__in=[source for source, _conversation in sources])
    begun = {
        pk: (role, text, created_at)
        for pk, role, text, created_at in messages.values_list(
            "pk", "role", Substr("text", 1, SCANNED), "created_at"
        )
    }
    hits = []
    message: uuid.UUID | None
    for source, conversation in sources:
        found = titles.get(conversation)
        if found is None or (source != conversation and source not in begun):
            continue  # deleted since the index was read
        if source == conversation:
            message, role, text, created_at = None, None, found.title, found.created_at
        else:
            message = source
            role, text, created_at = begun[source]
        hits.append(Hit(conversation, found.title, message, role, snippet_of(text, phrases), created_at))
    return hits


def snippet_of(text: str, phrases: Sequence[Phrase]) -> list[dict[str, Any]]:
    """Return the first place of a text that was found, with a few words around it."""
    text = " ".join(unicodedata.normalize("NFC", text).split())
    marks = marks_in(text, phrases)
    first = next(marks, (0, 0))
    start = max(0, first[0] - BEFORE_HIT)
    if start and " " in text[start : first[0]]:
        start = text.index(" ", start) + 1
    end = min(len(text), start + SNIPPET)
    pieces: list[tuple[str, bool]] = [("…", False)] if start else []
    place = start
    for begin, stop in [first, *takewhile(lambda mark: mark[0] < end, marks)]:
        if begin < place or begin == stop:
            continue
        pieces += [(text[place:begin], False), (text[begin:stop], True)]
        place = stop
    pieces.append((text[place:end] + ("…" if end < len(text) else ""), False))
    return [{"text": piece, "hit": is_hit} for piece, is_hit in pieces if piece]


def _from_uuid(value: uuid.UUID) -> Any:
    return Conversation._meta.pk.get_db_prep_value(value, connection)


def _to_uuid(value: Any) -> uuid.UUID:
    return Conversation._meta.pk.to_python(value)  # type: ignore[no-any-return]


# The owner is part of each term of the query. The rest holds again what the triggers and models promise.
_VISIBLE = """
    c.owner_id = %(owner)s AND c.deleted_at IS NULL
    AND (e.source = c.id OR (m.id IS NOT NULL AND m.hidden_at IS NULL))
    AND e.source <> %(source)s
"""
# CROSS JOIN: SQLite keeps the order, and reads the index backwards until it has enough.
SQLITE_OWN = f"""
    SELECT e.id, e.source, e.conversation_id
    FROM chat_search_terms t
    CROSS JOIN chat_search_entry e ON e.id = t.rowid AND e.owner_id = %(owner)s
    CROSS JOIN chat_conversation c ON c.id = e.conversation_id
    LEFT JOIN chat_message m ON m.id = e.source
    WHERE t.chat_search_terms MATCH %(query)s AND t.rowid <= %(entry)s AND {_VISIBLE}
    ORDER BY t.rowid DESC LIMIT %(limit)s
"""  # noqa: S608  (our own constants, no input)
# MATERIALIZED: otherwise PostgreSQL may read the newest entries of all members in search of a few.
POSTGRES_OWN = f"""
    WITH e AS MATERIALIZED (
        SELECT id, source, conversation_id FROM chat_search_entry
        WHERE terms @@ %(query)s::tsquery AND owner_id = %(owner)s AND id <= %(entry)s
    )
    SELECT e.id, e.source, e.conversation_id
    FROM e
    JOIN chat_conversation c ON c.id = e.conversation_id
    LEFT JOIN chat_message m ON m.id = e.source
    WHERE {_VISIBLE}
    ORDER BY e.id DESC LIMIT %(limit)s
"""  # noqa: S608  (our own constants, no input)

SQLITE_SEARCH = """
    SELECT e.conversation_id
    FROM chat_search_terms t
    JOIN chat_search_entry e ON e.id = t.rowid
    WHERE t.chat_search_terms MATCH %s
    ORDER BY t.rowid DESC LIMIT %s
"""

POSTGRES_SEARCH = """
    SELECT conversation_id FROM chat_search_entry
    WHERE terms @@ %s::tsquery
    ORDER BY id DESC LIMIT %s
"""
