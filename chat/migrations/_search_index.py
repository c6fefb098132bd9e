"""DDL of the full-text index, as migration 0004 makes it. Frozen: a later shape gets a file of its own."""

from collections.abc import Iterable
from typing import Any

# As in chat/search.py at that time.
PUNCTUATION = r"""!"#$%&'()*+,-./:;<=>?@[\]^_`{|}~"""
# A tsvector has at most 1 MiB. Words take up to 2.5 bytes of it for each of their own, characters up
# to 4 bytes; pieces overlap, so that a word at an edge is whole in one of them.
PIECE, OVERLAP = 60_000, 256

SOURCES = (
    # table, its text, its conversation
    ("chat_conversation", "title", "id"),
    ("chat_message", "text", "conversation_id"),
)


def create(apps: Any, schema_editor: Any) -> None:
    """The tables, the triggers, and the words of what is stored already."""
    _execute(schema_editor, SQLITE_TABLES if _on_sqlite(schema_editor) else POSTGRES_TABLES)
    create_triggers(apps, schema_editor)
    fill = SQLITE_FILL if _on_sqlite(schema_editor) else POSTGRES_FILL
    for source in SOURCES:
        _execute(schema_editor, [_named(statement, source) for statement in fill])


def create_triggers(apps: Any, schema_editor: Any) -> None:
    """Also for later migrations that make a table anew, as Django does on SQLite: its triggers go with it."""
    triggers = SQLITE_TRIGGERS if _on_sqlite(schema_editor) else POSTGRES_TRIGGERS
    for source in SOURCES:
        _execute(schema_editor, [_named(statement, source) for statement in triggers])


def drop(apps: Any, schema_editor: Any) -> None:
    for table, _text, _conversation in SOURCES:
        names = [f"{table}_words_{when}" for when in ("insert", "update", "delete", "truncate")]
        on = "" if _on_sqlite(schema_editor) else f" ON {table}"
        _execute(schema_editor, [f"DROP TRIGGER IF EXISTS {name}{on}" for name in names])
    _execute(schema_editor, SQLITE_DROP if _on_sqlite(schema_editor) else POSTGRES_DROP)


def _on_sqlite(schema_editor: Any) -> bool:
    return bool(schema_editor.connection.vendor == "sqlite")


def _execute(schema_editor: Any, statements: Iterable[str]) -> None:
    with schema_editor.connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def _named(statement: str, source: tuple[str, str, str]) -> str:
    table, text, conversation = source
    for name, value in (("{table}", table), ("{text}", text), ("{conversation}", conversation)):
        statement = statement.replace(name, value)
    return statement


SQLITE_TABLES = [
    # A number of its own: VACUUM may change the rowid of a table whose key is no integer.
    """
    CREATE TABLE chat_words_entry (
        id integer PRIMARY KEY,
        source char(32) NOT NULL UNIQUE,
        conversation_id char(32) NOT NULL
    )
    """,
    # Without content: the text stands in its own table. Case is folded, accents count, as on PostgreSQL.
    """
    CREATE VIRTUAL TABLE chat_words USING fts5 (
        words, content = '', tokenize = 'unicode61 remove_diacritics 0'
    )
    """,
]

_SQLITE_ADD = """
    INSERT INTO chat_words_entry (source, conversation_id) VALUES (new.id, new.{conversation});
    INSERT INTO chat_words (rowid, words)
        SELECT id, new.{text} FROM chat_words_entry WHERE source = new.id;
"""
# An index without content is told what to forget.
_SQLITE_REMOVE = """
    INSERT INTO chat_words (chat_words, rowid, words)
        SELECT 'delete', id, old.{text} FROM chat_words_entry WHERE source = old.id;
    DELETE FROM chat_words_entry WHERE source = old.id;
"""

SQLITE_TRIGGERS = [
    f"""
    CREATE TRIGGER IF NOT EXISTS {{table}}_words_insert AFTER INSERT ON {{table}} BEGIN {_SQLITE_ADD} END
    """,
    f"""
    CREATE TRIGGER IF NOT EXISTS {{table}}_words_update AFTER UPDATE OF {{text}} ON {{table}}
    WHEN old.{{text}} IS NOT new.{{text}} BEGIN {_SQLITE_REMOVE} {_SQLITE_ADD} END
    """,
    f"""
    CREATE TRIGGER IF NOT EXISTS {{table}}_words_delete AFTER DELETE ON {{table}} BEGIN {_SQLITE_REMOVE} END
    """,
]

SQLITE_FILL = [
    """
    INSERT INTO chat_words_entry (source, conversation_id)
        SELECT id, {conversation} FROM {table} ORDER BY created_at
    """,
    """
    INSERT INTO chat_words (rowid, words)
        SELECT e.id, t.{text} FROM {table} t JOIN chat_words_entry e ON e.source = t.id
    """,
]

SQLITE_DROP = ["DROP TABLE chat_words", "DROP TABLE chat_words_entry"]

POSTGRES_TABLES = [
    """
    CREATE TABLE chat_words_entry (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        source uuid NOT NULL,
        conversation_id uuid NOT NULL,
        words tsvector NOT NULL
    )
    """,
    "CREATE INDEX chat_words_source ON chat_words_entry (source)",
    "CREATE INDEX chat_words_words ON chat_words_entry USING gin (words)",
    f"""
    CREATE FUNCTION chat_words_add(source uuid, conversation uuid, said text) RETURNS void LANGUAGE sql AS $$
        INSERT INTO chat_words_entry (source, conversation_id, words)
        SELECT source, conversation, to_tsvector(
            'simple',
            translate(
                substr(said, piece * {PIECE} + 1, {PIECE + OVERLAP}),
                $punctuation${PUNCTUATION}$punctuation$,
                '{" " * len(PUNCTUATION)}'
            )
        )
        FROM generate_series(0, length(said) / {PIECE}) AS piece
    $$
    """,  # noqa: S608  (our own constants, no input)
    """
    CREATE FUNCTION chat_words_keep() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'TRUNCATE' THEN
            TRUNCATE chat_words_entry;
            RETURN NULL;
        END IF;
        IF TG_OP IN ('UPDATE', 'DELETE') THEN
            DELETE FROM chat_words_entry WHERE source = old.id;
        END IF;
        IF TG_OP IN ('INSERT', 'UPDATE') THEN
            IF TG_TABLE_NAME = 'chat_message' THEN
                PERFORM chat_words_add(new.id, new.conversation_id, new.text);
            ELSE
                PERFORM chat_words_add(new.id, new.id, new.title);
            END IF;
        END IF;
        RETURN NULL;
    END
    $$
    """,
]

POSTGRES_TRIGGERS = [
    f"CREATE OR REPLACE TRIGGER {{table}}_words_{name} AFTER {when} EXECUTE FUNCTION chat_words_keep()"
    for name, when in (
        ("insert", "INSERT ON {table} FOR EACH ROW"),
        ("update", "UPDATE OF {text} ON {table} FOR EACH ROW WHEN (old.{text} IS DISTINCT FROM new.{text})"),
        ("delete", "DELETE ON {table} FOR EACH ROW"),
        ("truncate", "TRUNCATE ON {table} FOR EACH STATEMENT"),
    )
]

POSTGRES_FILL = ["SELECT chat_words_add(id, {conversation}, {text}) FROM {table} ORDER BY created_at"]

POSTGRES_DROP = [
    "DROP FUNCTION chat_words_keep()",
    "DROP FUNCTION chat_words_add(uuid, uuid, text)",
    "DROP TABLE chat_words_entry",
]
