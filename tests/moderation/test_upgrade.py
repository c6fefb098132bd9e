"""Upgrade of an installation to moderation: its moderators, deleted conversations and logs."""

import importlib
from typing import Any

import pytest
from django.apps import apps
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.utils import timezone

from accounts.models import User
from chat.models import Conversation
from chat.moderation.groups import FORMER_MODERATORS, MODERATOR, make_groups
from chat.moderation.models import SealedConversation

pytestmark = pytest.mark.django_db(transaction=True)

guards = importlib.import_module("chat.moderation.migrations.0002_guards")
ids = importlib.import_module("accounts.migrations.0005_audit_id")


@pytest.fixture
def former() -> Group:
    """Return the group of the version before, in an installation without the new ones."""
    Group.objects.all().delete()
    group = Group.objects.create(name=FORMER_MODERATORS)
    group.permissions.set(
        Permission.objects.filter(codename__in=["view_user", "view_conversation", "view_run"])
    )
    return group


def permissions(group: Group) -> set[str]:
    return set(group.permissions.values_list("codename", flat=True))


def test_the_moderators_keep_their_group_with_the_new_permissions(former: Group, bob: Any) -> None:
    bob.groups.add(former)
    make_groups()
    (group,) = bob.groups.all()
    assert (group.pk, group.name) == (former.pk, MODERATOR)
    assert {"read_text", "break_glass", "act_on_members", "view_conversation"} <= permissions(group)
    assert "search_text" not in permissions(group)
    make_groups()
    assert Group.objects.count() == 4


def test_a_group_whose_right_to_read_was_taken_away_gets_no_new_one(former: Group) -> None:
    former.permissions.remove(Permission.objects.get(codename="view_conversation"))
    make_groups()
    former.refresh_from_db()
    assert former.name == MODERATOR
    assert permissions(former) == {"view_user", "view_run"}


def test_conversations_that_were_deleted_before_are_sealed(alice: Any) -> None:
    kept, deleted = (Conversation.objects.create(owner=alice, agent="a", title="t") for _ in range(2))
    Conversation.objects.filter(pk=deleted.pk).update(deleted_at=timezone.now())
    for _ in range(2):  # a migration that was interrupted on SQLite runs again
        guards.seal_deleted(apps, None)
    assert list(SealedConversation.objects.values_list("pk", flat=True)) == [deleted.pk]
    assert kept.pk != deleted.pk


def test_titles_leave_the_log_of_the_admin(alice: Any) -> None:
    def entry(model: Any, key: str, text: str) -> LogEntry:
        return LogEntry.objects.create(
            user=alice,
            content_type=ContentType.objects.get_for_model(model),
            object_id=key,
            object_repr=text,
            action_flag=CHANGE,
            change_message="",
        )

    titled, named = entry(Conversation, "key", "a private title"), entry(User, "1", "alice")
    guards.remove_titles(apps, None)
    titled.refresh_from_db()
    named.refresh_from_db()
    assert (titled.object_repr, named.object_repr) == ("key", "alice")


def test_each_account_gets_an_id_of_its_own_for_the_audit(alice: Any, bob: Any) -> None:
    User.objects.update(audit_id=None)
    with connection.schema_editor() as editor:
        ids.give_ids(apps, editor)
    found = set(User.objects.values_list("audit_id", flat=True))
    assert len(found) == 2
    assert None not in found
