"""The index of words: which conversations say something, in a title or in a message.

It stands beside the tables that it is about and is kept by triggers, so that nothing can be written
past it. Each entry has a number that counts up: the newest are found first, and no more than are
asked for. It knows words by their beginnings, in any case, of any language that puts spaces between
them. PostgreSQL keeps each entry's words as a ``tsvector``, SQLite in an FTS5 table without content.
"""

import re
import uuid
from collections.abc import Iterable

from django.db import connection

from chat.models import Conversation

MATCHES = 500  # entries that one search looks at: the newest
TERMS = 8
TERM_LENGTH = 64
# From so many characters on, a term also finds longer words: "a" begins a tenth of all there are.
PREFIX_LENGTH = 3

# Else PostgreSQL's parser takes "a/b" for a path, "a.b" for a host and "<a>" for a tag that says nothing.
PUNCTUATION = r"""!"#$%&'()*+,-./:;<=>?@[\]^_`{|}~"""
TO_SPACES = str.maketrans(PUNCTUATION, " " * len(PUNCTUATION))


def conversations_saying(text: str) -> list[uuid.UUID]:
    """The conversations whose title or one of whose messages has every term of ``text``.

    A term is a word or, "in quotes", words in this order. Those of the newest MATCHES entries, in
    no order, deleted ones among them. Nothing is found where ``text`` has no word.
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
    """The first TERMS words and quoted phrases, without punctuation."""
    found = (quoted or word for quoted, word in re.findall(r'"([^"]*)"|(\S+)', text))
    plain = (" ".join(term.translate(TO_SPACES).split())[:TERM_LENGTH] for term in found)
    return [term for term in plain if any(character.isalnum() for character in term)][:TERMS]


def fts5_query(terms: Iterable[str]) -> str:
    return " AND ".join(f'"{term}"{"*" if is_beginning(term) else ""}' for term in terms)


def ts_query(terms: Iterable[str]) -> str:
    return " & ".join(f"'{term}'{':*' if is_beginning(term) else ''}" for term in terms)


def is_beginning(term: str) -> bool:
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
