"""Table of calls: spoken conversations that are open, and when and how long there were others."""

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from chat.models import Conversation, Process, new_id


class LiveCall(models.Model):
    """A member speaks with the agent of a conversation. Words are messages; audio is stored nowhere."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="+")
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    process = models.ForeignKey(Process, models.SET_NULL, null=True, related_name="+")
    # raised by each take-over: the holder of an older one can no longer write
    epoch = models.PositiveIntegerField(default=1)
    # with which the model's provider resumes its session, encrypted; in no export
    handle = models.TextField(null=True, editable=False)  # noqa: DJ001 (None: there is none)
    handle_at = models.DateTimeField(null=True)
    opened_at = models.DateTimeField(default=timezone.now)
    seen_at = models.DateTimeField(default=timezone.now)  # its socket was open; renewed every second
    lost_at = models.DateTimeField(null=True)  # the socket was lost, and may come back
    ended_at = models.DateTimeField(null=True)
    end_code = models.CharField(max_length=32, blank=True)
    seconds_in = models.FloatField(default=0)  # of audio that the member sent
    seconds_out = models.FloatField(default=0)  # of audio that the model sent
    turns = models.PositiveIntegerField(default=0)

    # of sound that the member's day leaves, on the instance that ``keeping.admit`` returns; None: no limit
    seconds_left: float | None = None

    class Meta:
        verbose_name, verbose_name_plural = _("call"), _("calls")
        default_permissions = ()
        indexes = [
            # the seconds of a member's day
            models.Index(fields=["owner", "-opened_at"], name="calls_of_owner"),
            # the admin: the newest calls, and those of some hours
            models.Index(fields=["-opened_at", "-id"], name="calls_newest"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["conversation"], condition=Q(ended_at=None), name="calls_open_in_conversation"
            ),
            models.UniqueConstraint(fields=["owner"], condition=Q(ended_at=None), name="calls_open_of_owner"),
            models.CheckConstraint(
                condition=Q(ended_at=None) | Q(ended_at__gte=F("opened_at")), name="calls_end_after"
            ),
            models.CheckConstraint(
                condition=Q(ended_at=None) | Q(handle=None), name="calls_ended_without_handle"
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)
