"""Full-text search over titles and messages; triggers of the database maintain the index.

Words are found by their prefix, in any case, in languages with spaces between words. Each entry has a
sequence number, so that the newest are found first. PostgreSQL stores a ``tsvector`` per entry, SQLite an
FTS5 table without content.
"""

import re
import uuid
from collections.abc import Iterable

from django.db import connection

from chat.models import Conversation

MATCHES = 500  # entries that one search reads, the newest first
TERMS = 8
TERM_LENGTH = 64
# Shorter terms find only whole words: a tenth of all words begin with "a".
PREFIX_LENGTH = 3

# PostgreSQL's parser would take "a/b" for a path, "a.b" for a host, and ignore "<a>" as a tag.
PUNCTUATION = r"""!"#$%&'()*+,-./:;<=>?@[\]^_`{|}~"""
TO_SPACES = str.maketrans(PUNCTUATION, " " * len(PUNCTUATION))


def conversations_saying(text: str) -> list[uuid.UUID]:
    """Return the conversations with every term of ``text`` in their title or in one message.

    A term is a word or, "in quotes", several words in this order. The search covers the newest MATCHES
    matching entries. The result has no order, includes deleted conversations, and is empty without a term.
    """
    terms = terms_of(text)
    if not terms:
        return []
    sql, query = (
        (SQLITE_SEARCH, fts5_query(terms))
        if connection.vendor == "sqlite"
        else (POSTGRES_SEARCH, ts_query(terms))
    )
    field = Conversation._meta.pk
    with connection.cursor() as cursor:
        cursor.execute(sql, [query, MATCHES])
        return [field.to_python(found) for found in {row[0] for row in cursor.fetchall()}]


def terms_of(text: str) -> list[str]:
    """Return the first TERMS words and quoted phrases, without punctuation."""
    found = (quoted or word for quoted, word in re.findall(r'"([^"]*)"|(\S+)', text))
    plain = (" ".join(term.translate(TO_SPACES).split())[:TERM_LENGTH] for term in found)
    return [term for term in plain if any(character.isalnum() for character in term)][:TERMS]


def fts5_query(terms: Iterable[str]) -> str:
    return " AND ".join(f'"{term}"{"*" if _is_prefix(term) else ""}' for term in terms)


def ts_query(terms: Iterable[str]) -> str:
    return " & ".join(f"'{term}'{':*' if _is_prefix(term) else ''}" for term in terms)


def _is_prefix(term: str) -> bool:
    return len(term.rsplit(maxsplit=1)[-1]) >= PREFIX_LENGTH


SQLITE_SEARCH = """
    SELECT e.conversation_id
    FROM chat_words w
    JOIN chat_words_entry e ON e.id = w.rowid
    WHERE w.chat_words MATCH %s
    ORDER BY w.rowid DESC LIMIT %s
"""

POSTGRES_SEARCH = """
    SELECT conversation_id FROM chat_words_entry
    WHERE words @@ to_tsquery('simple', %s)
    ORDER BY id DESC LIMIT %s
"""
