from django.db import migrations

from chat.migrations import _search_due


class Migration(migrations.Migration):

    dependencies = [
        ('chat', '0009_feedback_and_model'),
    ]

    operations = [
        migrations.RunPython(_search_due.create, _search_due.drop),
    ]
