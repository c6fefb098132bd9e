from typing import Any

from django.db import migrations
from django.db.models import F

from chat.moderation.migrations import _audit_guard


def seal_deleted(apps: Any, schema_editor: Any) -> None:
    """No one was told that staff could open conversations that were deleted before: nobody ever does."""
    sealed = apps.get_model("moderation", "SealedConversation")
    deleted = apps.get_model("chat", "Conversation").objects.filter(deleted_at__isnull=False)
    found = list(deleted.values_list("pk", flat=True))
    marks = [sealed(conversation_id=pk) for pk in found]
    sealed.objects.bulk_create(marks, batch_size=500, ignore_conflicts=True)


def remove_titles(apps: Any, schema_editor: Any) -> None:
    """Django's log of the admin held the titles of conversations."""
    entries = apps.get_model("admin", "LogEntry").objects.filter(
        content_type__app_label="chat", content_type__model="conversation"
    )
    entries.update(object_repr=F("object_id"))


class Migration(migrations.Migration):

    dependencies = [
        ("moderation", "0001_initial"),
        ("admin", "0003_logentry_add_action_flag_choices"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [
        migrations.RunPython(_audit_guard.create, _audit_guard.drop),
        migrations.RunPython(seal_deleted, migrations.RunPython.noop),
        migrations.RunPython(remove_titles, migrations.RunPython.noop),
    ]
