from typing import Any

from django.db import migrations

# A server of the version before may run meanwhile, beside PostgreSQL: it reads and writes the column. So the
# column stays for one version, with a default for servers that no longer know it.
POSTGRES = "ALTER TABLE chat_run ALTER COLUMN cost_millionths SET DEFAULT 0"
POSTGRES_BACK = "ALTER TABLE chat_run ALTER COLUMN cost_millionths DROP DEFAULT"
SQLITE = "ALTER TABLE chat_run DROP COLUMN cost_millionths"
SQLITE_BACK = "ALTER TABLE chat_run ADD COLUMN cost_millionths bigint unsigned NOT NULL DEFAULT 0"


def forwards(apps: Any, schema_editor: Any) -> None:
    schema_editor.execute(SQLITE if schema_editor.connection.vendor == "sqlite" else POSTGRES)


def backwards(apps: Any, schema_editor: Any) -> None:
    schema_editor.execute(SQLITE_BACK if schema_editor.connection.vendor == "sqlite" else POSTGRES_BACK)


class Migration(migrations.Migration):

    dependencies = [
        ('chat', '0006_run_failure'),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[migrations.RemoveField(model_name='run', name='cost_millionths')],
            database_operations=[migrations.RunPython(forwards, backwards)],
        ),
    ]
