import uuid
from typing import Any

from django.db import migrations, models

FILLED_AT_ONCE = 500


def give_ids(apps: Any, schema_editor: Any) -> None:
    users = apps.get_model("accounts", "User").objects.using(schema_editor.connection.alias)
    while found := list(users.filter(audit_id=None).only("pk")[:FILLED_AT_ONCE]):
        for user in found:
            user.audit_id = uuid.uuid4()
        users.bulk_update(found, ["audit_id"])


class Migration(migrations.Migration):

    dependencies = [("accounts", "0004_folded_name")]

    operations = [
        # Nullable, and without a default of the database: SQLite then adds a column without copying the
        # table, and servers of the version before can insert users meanwhile.
        migrations.AddField("user", "audit_id", models.UUIDField(editable=False, null=True)),
        migrations.AddField("user", "sign_in_epoch", models.PositiveIntegerField(editable=False, null=True)),
        migrations.AddField("user", "staff_acted_at", models.DateTimeField(editable=False, null=True)),
        migrations.RunPython(give_ids, migrations.RunPython.noop),
        migrations.AlterField("user", "audit_id", models.UUIDField(default=uuid.uuid4, editable=False, null=True)),
    ]
