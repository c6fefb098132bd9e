"""Triggers that refuse every change of the audit, except the removal of rows behind a checkpoint."""

from typing import Any

TABLE = "moderation_auditevent"
_BEHIND = f"(SELECT coalesce(max(removed_through), 0) FROM {TABLE})"

SQLITE = {
    "moderation_audit_no_update": f"""
        CREATE TRIGGER moderation_audit_no_update BEFORE UPDATE ON {TABLE}
        BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END""",
    "moderation_audit_no_delete": f"""
        CREATE TRIGGER moderation_audit_no_delete BEFORE DELETE ON {TABLE} WHEN OLD.seq > {_BEHIND}
        BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END""",
    # REPLACE deletes without firing the trigger of deletions
    "moderation_audit_no_replace": f"""
        CREATE TRIGGER moderation_audit_no_replace BEFORE INSERT ON {TABLE}
        WHEN EXISTS (SELECT 1 FROM {TABLE} WHERE seq = NEW.seq)
        BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END""",
}
POSTGRESQL = f"""
    CREATE FUNCTION moderation_audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'DELETE' THEN
            IF OLD.seq <= {_BEHIND} THEN RETURN OLD; END IF;
        END IF;
        RAISE EXCEPTION 'the audit is append-only';
    END $$;
    CREATE TRIGGER moderation_audit_no_change BEFORE UPDATE OR DELETE ON {TABLE}
        FOR EACH ROW EXECUTE FUNCTION moderation_audit_refuse();
    CREATE TRIGGER moderation_audit_no_truncate BEFORE TRUNCATE ON {TABLE}
        FOR EACH STATEMENT EXECUTE FUNCTION moderation_audit_refuse();
"""


def create(apps: Any, schema_editor: Any) -> None:
    for statement in SQLITE.values() if schema_editor.connection.vendor == "sqlite" else [POSTGRESQL]:
        schema_editor.execute(statement, params=None)


def drop(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "sqlite":
        for name in SQLITE:
            schema_editor.execute(f"DROP TRIGGER IF EXISTS {name}")
    else:
        schema_editor.execute("DROP FUNCTION IF EXISTS moderation_audit_refuse CASCADE")
