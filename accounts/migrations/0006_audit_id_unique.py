from django.db import migrations, models


class Migration(migrations.Migration):
    # Apart from 0005: PostgreSQL makes no index on a table with changes that are not committed.

    dependencies = [("accounts", "0005_audit_id")]

    operations = [
        migrations.AddConstraint(
            model_name="user",
            constraint=models.UniqueConstraint(
                condition=models.Q(("audit_id__isnull", False)),
                fields=("audit_id",),
                name="accounts_user_audit_id",
            ),
        ),
    ]
