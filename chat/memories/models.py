"""Tables of what agents add to their memory of a member. Conversations are not copied into them."""

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from chat.models import Conversation, Run, new_id

AUTHOR_MAX = 128  # characters, as of an agent's name


class MemoryQuerySet(models.QuerySet["Memory"]):
    def visible_to(self, owner: int) -> "MemoryQuerySet":
        """Return the owner's, without those of deleted conversations and of hidden runs."""
        return self.filter(
            Q(conversation=None) | Q(conversation__deleted_at=None),
            owner=owner,
            run__prompt__hidden_at=None,
            run__reply__hidden_at=None,
        )


class Memory(models.Model):
    """Text that an agent has added to its memory of a member. It leaves with its conversation."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    agent = models.CharField(max_length=128)
    # in which it was added; None outside a run
    conversation = models.ForeignKey(Conversation, models.CASCADE, null=True, related_name="+")
    run = models.ForeignKey(Run, models.CASCADE, null=True, related_name="+")
    text = models.TextField()
    content = models.JSONField()  # ADK's, without bytes
    author = models.CharField(max_length=AUTHOR_MAX, blank=True)
    metadata = models.JSONField(default=dict)
    terms = models.TextField()  # different terms of the text, between spaces, as the full-text index has them
    digest = models.CharField(max_length=64)  # of the text as it was added
    created_at = models.DateTimeField(default=timezone.now)
    edited_at = models.DateTimeField(null=True)  # by the member

    objects = MemoryQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        indexes = [
            # a search of the agent, and the owner's page
            models.Index(fields=["owner", "agent", "-created_at", "-id"], name="memories_of_agent"),
        ]
        constraints = [
            models.CheckConstraint(condition=~Q(text=""), name="memories_text"),
            models.CheckConstraint(
                condition=Q(run=None) | Q(conversation__isnull=False), name="memories_run_in_conversation"
            ),
            models.CheckConstraint(
                condition=Q(edited_at=None) | Q(edited_at__gte=F("created_at")), name="memories_edited_after"
            ),
            # An agent that begins again after a crash adds the same.
            models.UniqueConstraint(fields=["conversation", "agent", "digest"], name="memories_added_once"),
        ]

    def __str__(self) -> str:
        return str(self.pk)


class MemoryOptOut(models.Model):
    """A member has turned memory off: agents add nothing, and find nothing."""

    owner = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, primary_key=True, related_name="+")
    opted_out_at = models.DateTimeField(default=timezone.now)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.pk)
