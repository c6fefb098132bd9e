"""DDL of the full-text index, as migration 0010 makes it. Frozen: a later shape gets a file of its own.

Triggers list what is written as due, in plain SQL; chat/search/index.py takes it in.
"""

from collections.abc import Iterable
from typing import Any

SOURCES = (
    # table, its text, its conversation, that conversation's owner
    ("chat_conversation", "title", "id", "{row}.owner_id"),
    (
        "chat_message",
        "text",
        "conversation_id",
        "(SELECT owner_id FROM chat_conversation WHERE id = {row}.conversation_id)",
    ),
)


def create(apps: Any, schema_editor: Any) -> None:
    _execute(schema_editor, SQLITE_TABLES if _on_sqlite(schema_editor) else POSTGRES_TABLES)
    create_triggers(apps, schema_editor)


def create_triggers(apps: Any, schema_editor: Any) -> None:
    """Also for later migrations that make a table anew, as Django does on SQLite: its triggers go with it."""
    triggers = SQLITE_TRIGGERS if _on_sqlite(schema_editor) else POSTGRES_TRIGGERS
    for source in SOURCES:
        _execute(schema_editor, [_named(statement, source) for statement in triggers])


def list_all(apps: Any, schema_editor: Any) -> None:
    """List everything that is stored already as due; after the migrations, chat/apps.py has it taken in."""
    for table, _text, conversation, _owner in SOURCES:
        _execute(
            schema_editor,
            [
                f"""
                INSERT INTO chat_search_due (source, owner_id)
                SELECT t.id, c.owner_id FROM {table} t JOIN chat_conversation c ON c.id = t.{conversation}
                WHERE true ON CONFLICT (source) DO NOTHING
                """  # noqa: S608  (our own constants, no input)
            ],
        )


def drop(apps: Any, schema_editor: Any) -> None:
    for table, *_rest in SOURCES:
        names = [f"{table}_due_{when}" for when in ("insert", "update", "delete", "truncate")]
        on = "" if _on_sqlite(schema_editor) else f" ON {table}"
        _execute(schema_editor, [f"DROP TRIGGER IF EXISTS {name}{on}" for name in names])
    _execute(schema_editor, SQLITE_DROP if _on_sqlite(schema_editor) else POSTGRES_DROP)


def _on_sqlite(schema_editor: Any) -> bool:
    return bool(schema_editor.connection.vendor == "sqlite")


def _execute(schema_editor: Any, statements: Iterable[str]) -> None:
    with schema_editor.connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def _named(statement: str, source: tuple[str, str, str, str]) -> str:
    table, text, _conversation, owner = source
    for row in ("old", "new"):
        statement = statement.replace(f"{{{row} owner}}", owner.replace("{row}", row))
    return statement.replace("{table}", table).replace("{text}", text)


# The number of changes begins at random: a row that was taken in and listed again is another one.
SQLITE_TABLES = [
    """
    CREATE TABLE chat_search_due (
        source char(32) NOT NULL PRIMARY KEY,
        owner_id bigint NOT NULL,
        changes integer NOT NULL DEFAULT (abs(random() % 1000000000)),
        indexed_text text
    )
    """,
    "CREATE INDEX chat_search_due_owner ON chat_search_due (owner_id, source)",
    # id: the time of creation in microseconds
    """
    CREATE TABLE chat_search_entry (
        id integer PRIMARY KEY,
        source char(32) NOT NULL,
        conversation_id char(32) NOT NULL,
        owner_id bigint NOT NULL
    )
    """,
    "CREATE INDEX chat_search_entry_source ON chat_search_entry (source)",
    # Without content: the text is in its own table. Terms are folded already, and separated by spaces.
    """
    CREATE VIRTUAL TABLE chat_search_terms USING fts5 (
        terms, content = '', tokenize = "ascii tokenchars ':'"
    )
    """,
]

# The indexed text of a due text is the one of the first change, which the index holds until it is taken in.
SQLITE_TRIGGERS = [
    """
    CREATE TRIGGER IF NOT EXISTS {table}_due_insert AFTER INSERT ON {table} BEGIN
        INSERT INTO chat_search_due (source, owner_id) VALUES (new.id, {new owner})
        ON CONFLICT (source) DO UPDATE SET changes = changes + 1;
    END
    """,
    """
    CREATE TRIGGER IF NOT EXISTS {table}_due_update AFTER UPDATE OF {text} ON {table}
    WHEN old.{text} IS NOT new.{text} BEGIN
        INSERT INTO chat_search_due (source, owner_id, indexed_text) VALUES (new.id, {new owner}, old.{text})
        ON CONFLICT (source) DO UPDATE SET changes = changes + 1;
    END
    """,
    """
    CREATE TRIGGER IF NOT EXISTS {table}_due_delete AFTER DELETE ON {table} BEGIN
        DELETE FROM chat_search_due WHERE source = old.id AND indexed_text IS NULL;
        INSERT INTO chat_search_due (source, owner_id, indexed_text)
            SELECT old.id, owner_id, old.{text} FROM chat_search_entry WHERE source = old.id LIMIT 1
        ON CONFLICT (source) DO UPDATE SET changes = changes + 1;
    END
    """,
]

SQLITE_DROP = ["DROP TABLE chat_search_terms", "DROP TABLE chat_search_entry", "DROP TABLE chat_search_due"]

POSTGRES_TABLES = [
    """
    CREATE TABLE chat_search_due (
        source uuid NOT NULL PRIMARY KEY,
        owner_id bigint NOT NULL,
        changes integer NOT NULL DEFAULT (random() * 1000000000)::integer,
        indexed_text text
    )
    """,
    "CREATE INDEX chat_search_due_owner ON chat_search_due (owner_id, source)",
    # The terms are stored apart: a search does not read them, and rows without them are ten times as small.
    """
    CREATE TABLE chat_search_entry (
        id bigint PRIMARY KEY,
        source uuid NOT NULL,
        conversation_id uuid NOT NULL,
        owner_id bigint NOT NULL,
        terms tsvector NOT NULL
    ) WITH (toast_tuple_target = 128)
    """,
    "CREATE INDEX chat_search_entry_source ON chat_search_entry (source)",
    # Without a list of pending terms, which each search would read from end to end.
    "CREATE INDEX chat_search_entry_terms ON chat_search_entry USING gin (terms) WITH (fastupdate = off)",
    """
    CREATE FUNCTION chat_search_list_due() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE owner bigint;
    BEGIN
        IF TG_OP = 'TRUNCATE' THEN
            TRUNCATE chat_search_entry, chat_search_due;
            RETURN NULL;
        END IF;
        IF TG_OP = 'DELETE' THEN
            DELETE FROM chat_search_due WHERE source = old.id;
            DELETE FROM chat_search_entry WHERE source = old.id;
            RETURN NULL;
        END IF;
        IF TG_TABLE_NAME = 'chat_message' THEN
            SELECT owner_id INTO owner FROM chat_conversation WHERE id = new.conversation_id;
        ELSE
            owner := new.owner_id;
        END IF;
        INSERT INTO chat_search_due AS due (source, owner_id) VALUES (new.id, owner)
        ON CONFLICT (source) DO UPDATE SET changes = due.changes + 1;
        RETURN NULL;
    END
    $$
    """,
]

POSTGRES_TRIGGERS = [
    f"CREATE OR REPLACE TRIGGER {{table}}_due_{name} AFTER {when} EXECUTE FUNCTION chat_search_list_due()"
    for name, when in (
        ("insert", "INSERT ON {table} FOR EACH ROW"),
        ("update", "UPDATE OF {text} ON {table} FOR EACH ROW WHEN (old.{text} IS DISTINCT FROM new.{text})"),
        ("delete", "DELETE ON {table} FOR EACH ROW"),
        ("truncate", "TRUNCATE ON {table} FOR EACH STATEMENT"),
    )
]

POSTGRES_DROP = [
    "DROP FUNCTION chat_search_list_due()",
    "DROP TABLE chat_search_entry",
    "DROP TABLE chat_search_due",
]
