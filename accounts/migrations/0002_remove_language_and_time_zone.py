from typing import Any

from django.db import migrations

COLUMNS = {"language": "varchar(16)", "time_zone": "varchar(64)"}


# A server of the version before may run meanwhile, beside PostgreSQL: it reads and writes the columns. So they
# stay for one version, with a default for servers that no longer know them.
def forwards(apps: Any, schema_editor: Any) -> None:
    on_sqlite = schema_editor.connection.vendor == "sqlite"
    for name in COLUMNS:
        change = f"DROP COLUMN {name}" if on_sqlite else f"ALTER COLUMN {name} SET DEFAULT ''"
        schema_editor.execute(f"ALTER TABLE accounts_user {change}")


def backwards(apps: Any, schema_editor: Any) -> None:
    on_sqlite = schema_editor.connection.vendor == "sqlite"
    for name, kind in COLUMNS.items():
        added = f"ADD COLUMN {name} {kind} NOT NULL DEFAULT ''"
        change = added if on_sqlite else f"ALTER COLUMN {name} DROP DEFAULT"
        schema_editor.execute(f"ALTER TABLE accounts_user {change}")


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0001_initial'),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RemoveField(model_name='user', name='language'),
                migrations.RemoveField(model_name='user', name='time_zone'),
            ],
            database_operations=[migrations.RunPython(forwards, backwards)],
        ),
    ]
