from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [("accounts", "0006_audit_id_unique")]

    operations = [
        migrations.AddField("user", "suspended_until", models.DateTimeField(editable=False, null=True)),
    ]
