"""The full-text index: it takes in the messages and titles that the database's triggers list as due.

Each entry holds the terms of a text twice: as they are, for moderators, and with the owner's id in front. The
terms of an owner are together in the index, so that a search of theirs reads nothing of anyone else.
"""

import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain, islice
from typing import Any

from django.conf import settings
from django.db import connection, transaction

from chat.models import Conversation, Message
from chat.search.terms import terms_of

# PostgreSQL's limits: a tsvector has 16,383 positions and 1 MiB. A longer text has several entries, and a
# search finds terms together only within one of them.
ENTRY_TERMS, ENTRY_BYTES = 16_000, 200_000
POSITIONS = 256  # that PostgreSQL keeps of one term
BATCH = 100  # texts in one transaction
BATCH_CHARACTERS = 200_000  # a batch ends after the text that exceeds this
MERGED_PAGES = 100  # of 4 KB that one statement writes: in 10 ms

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Due:
    """Row of chat_search_due: a text to take in, or to take out if it is gone."""

    source: uuid.UUID
    owner: int
    changes: int  # how often it changed while it is due
    indexed_text: str | None  # that the index holds; only SQLite needs it


@dataclass(frozen=True, slots=True)
class _Source:
    conversation: uuid.UUID
    text: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class _Taken:
    """Text that is due, as it was read: its source is None if it is gone."""

    due: _Due
    source: _Source | None
    entries: list[list[str]]


def index_due(owner: int | None = None) -> bool:
    """Take in the next texts that are due, of one owner or of all; return whether there may be more."""
    due = _next_due(owner)
    taken: list[_Taken] = []
    characters = 0
    sources = _sources([row.source for row in due])
    for row in due:
        source = sources.get(row.source)
        # Before the transaction: SQLite's only writer must not wait for it.
        entries = list(_entries(source.text)) if source else []
        taken.append(_Taken(row, source, entries))
        characters += len(source.text) if source else 0
        if characters > BATCH_CHARACTERS:
            break
    if taken:
        _store(taken)
    return len(taken) < len(due) or len(due) == BATCH


def _next_due(owner: int | None) -> list[_Due]:
    where, values = ("WHERE owner_id = %s", [owner]) if owner is not None else ("", [])
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT source, owner_id, changes, indexed_text FROM chat_search_due {where} "  # noqa: S608
            f"ORDER BY source LIMIT {BATCH}",
            values,
        )
        return [_Due(_to_id(source), *rest) for source, *rest in cursor.fetchall()]


def _sources(ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, _Source]:
    messages = Message.objects.filter(pk__in=ids).values_list("pk", "conversation", "text", "created_at")
    titles = Conversation.objects.filter(pk__in=ids).values_list("pk", "pk", "title", "created_at")
    rows: Iterable[Any] = chain(messages, titles)
    return {pk: _Source(*rest) for pk, *rest in rows}


def _entries(text: str) -> Iterator[list[str]]:
    """Yield the terms of a text in pieces that fit into one entry."""
    entry, size = [], 0
    for term in terms_of(text):
        entry.append(term)
        size += len(term.encode())
        if len(entry) == ENTRY_TERMS or size > ENTRY_BYTES:
            yield entry
            entry, size = [], 0
    if entry:
        yield entry


def _store(taken: Sequence[_Taken]) -> None:
    """Store what was read of due texts, the ones that other transactions change now each on its own.

    A transaction that waits for another here must hold no row of chat_search_due: who writes a message and
    then a title locks their rows in that order, and would deadlock with a batch that has the title's.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        free = {text.due.source for text in taken}
        if not settings.ON_SQLITE:  # which has one writer at a time
            cursor.execute(
                "SELECT source FROM chat_search_due WHERE source = ANY(%s) FOR UPDATE SKIP LOCKED",
                [list(free)],
            )
            free = {source for (source,) in cursor.fetchall()}
        for text in taken:
            if text.due.source in free:
                _store_one(cursor, text)
    for text in taken:
        if text.due.source not in free:
            with transaction.atomic(), connection.cursor() as cursor:
                _store_one(cursor, text)


def _store_one(cursor: Any, text: _Taken) -> None:
    # Nothing is deleted if the text has changed meanwhile, or if another process was faster.
    cursor.execute(
        "DELETE FROM chat_search_due WHERE source = %s AND changes = %s",
        [_from_id(text.due.source), text.due.changes],
    )
    if cursor.rowcount:
        _take_out(cursor, text.due)
        if text.source:
            _take_in(cursor, text.due, text.source, text.entries)


def _take_out(cursor: Any, row: _Due) -> None:
    source = _from_id(row.source)
    if settings.ON_SQLITE and row.indexed_text is not None:
        cursor.execute("SELECT id, owner_id FROM chat_search_entry WHERE source = %s ORDER BY id", [source])
        # The index holds no text: it is told which terms to delete.
        for (entry, owner), terms in zip(cursor.fetchall(), _entries(row.indexed_text), strict=False):
            cursor.execute(
                "INSERT INTO chat_search_terms (chat_search_terms, rowid, terms) VALUES ('delete', %s, %s)",
                [entry, _fts5_text(owner, terms)],
            )
    cursor.execute("DELETE FROM chat_search_entry WHERE source = %s", [source])


def _take_in(cursor: Any, row: _Due, source: _Source, entries: list[list[str]]) -> None:
    entry = (source.created_at - _EPOCH) // timedelta(microseconds=1)
    for terms in entries:
        columns = [_from_id(row.source), _from_id(source.conversation), row.owner]
        if settings.ON_SQLITE:
            entry = _insert(cursor, SQLITE_INSERT, entry, columns)
            cursor.execute(
                "INSERT INTO chat_search_terms (rowid, terms) VALUES (%s, %s)",
                [entry, _fts5_text(row.owner, terms)],
            )
        else:
            entry = _insert(cursor, POSTGRES_INSERT, entry, [*columns, _tsvector(row.owner, terms)])


@transaction.atomic
def merge_some(*, begin: bool) -> bool:
    """Merge a part of SQLite's index; return whether there is more. The terms of deleted texts leave with it.

    FTS5 marks terms as deleted, and drops them when the pieces of the index that hold them become one.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM chat_search_entry LIMIT 1")
        if cursor.fetchone() is None:
            # A merge would leave empty levels, and later merges below them would drop nothing.
            cursor.execute("INSERT INTO chat_search_terms (chat_search_terms) VALUES ('delete-all')")
            return False
        before = connection.connection.total_changes
        cursor.execute(
            "INSERT INTO chat_search_terms (chat_search_terms, rank) VALUES ('merge', %s)",
            [-MERGED_PAGES if begin else MERGED_PAGES],  # a negative number begins with all pieces
        )
        # as SQLite's documentation says: less than two changes mean that nothing was merged
        return bool(connection.connection.total_changes - before >= 2)


def _insert(cursor: Any, sql: str, entry: int, columns: list[Any]) -> int:
    """Insert an entry under the first free number from ``entry`` on; return that."""
    # Entries are in the order of creation: the number is a time in microseconds, which texts may share.
    while True:
        cursor.execute(sql, [entry, *columns])
        if cursor.rowcount:
            return entry
        cursor.execute(
            # Not MIN: both databases would look at every later entry.
            "SELECT e.id + 1 FROM chat_search_entry e WHERE e.id >= %s"
            " AND NOT EXISTS (SELECT 1 FROM chat_search_entry n WHERE n.id = e.id + 1) ORDER BY e.id LIMIT 1",
            [entry],
        )
        entry = cursor.fetchone()[0]


SQLITE_INSERT = """
    INSERT INTO chat_search_entry (id, source, conversation_id, owner_id) VALUES (%s, %s, %s, %s)
    ON CONFLICT DO NOTHING
"""
POSTGRES_INSERT = """
    INSERT INTO chat_search_entry (id, source, conversation_id, owner_id, terms)
    VALUES (%s, %s, %s, %s, %s::tsvector) ON CONFLICT DO NOTHING
"""


def _fts5_text(owner: int, terms: list[str]) -> str:
    return " ".join([*(f"{owner}:{term}" for term in terms), *terms])


def _tsvector(owner: int, terms: list[str]) -> str:
    places: dict[str, list[str]] = {}
    for place, term in enumerate(terms, start=1):
        places.setdefault(term, []).append(str(place))
    found = ((term, ",".join(islice(own, POSITIONS))) for term, own in places.items())
    # Terms have letters, digits and marks only: no quote, no backslash.
    return " ".join(f"'{term}':{own} '{owner}:{term}':{own}" for term, own in found)


def _from_id(value: uuid.UUID) -> Any:
    return Message._meta.pk.get_db_prep_value(value, connection)


def _to_id(value: Any) -> uuid.UUID:
    return Message._meta.pk.to_python(value)  # type: ignore[no-any-return]
