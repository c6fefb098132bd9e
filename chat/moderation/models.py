"""Tables of moderation: grants to read, consents of members, the audit, and the policy in force."""

import uuid
from datetime import timedelta

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from chat.models import Conversation, new_id


class GrantReason(models.TextChoices):
    """GrantReason of a grant that nobody else has given."""

    REPORT = "report", _("A report")
    HELP = "help", _("The member asked for help")
    INCIDENT = "incident", _("A fault or an attack")
    LEGAL = "legal", _("A legal request")
    OTHER = "other", _("Another reason")


class AccessGrantQuerySet(models.QuerySet["AccessGrant"]):
    def in_force(self) -> "AccessGrantQuerySet":
        return self.filter(revoked_at=None, expires_at__gt=timezone.now())


class AccessGrant(models.Model):
    """Right of one member of the staff to read one conversation, or to search texts, for 30 minutes."""

    class Scope(models.TextChoices):
        CONVERSATION = "conversation", _("One conversation")
        SEARCH = "search", _("Search of texts")

    class Basis(models.TextChoices):
        CONSENT = "consent", _("The member allowed it")
        BREAK_GLASS = "break_glass", _("With a reason")

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    staff = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="access_grants")
    scope = models.CharField(max_length=16, choices=Scope)
    conversation = models.ForeignKey(Conversation, models.CASCADE, null=True, related_name="+")
    basis = models.CharField(max_length=16, choices=Basis)
    reason = models.CharField(max_length=16, choices=GrantReason, blank=True)
    opened_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)
    # from when on the member reads of the looks by this grant
    told_from = models.DateTimeField(default=timezone.now)

    objects = AccessGrantQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        permissions = (
            ("view_queue", _("See the review queue")),
            ("read_text", _("Read the text of members by a grant")),
            ("break_glass", _("Open a conversation with a reason")),
            ("act_on_content", _("Act on messages and conversations")),
            ("act_on_members", _("Act on members")),
            ("watch_live", _("Watch replies live")),
            ("search_text", _("Search the texts of members")),
            ("export", _("Export")),
            ("view_audit", _("See the audit")),
            ("manage_rules", _("Manage the rules of moderation")),
        )
        indexes = [
            # each look
            models.Index(fields=["staff", "conversation", "expires_at"], name="moderation_grant_of_staff"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(scope="conversation", conversation__isnull=False)
                | Q(scope="search", conversation=None),
                name="moderation_grant_scope",
            ),
            models.CheckConstraint(
                condition=Q(basis="consent", scope="conversation", reason="")
                | Q(basis="break_glass", reason__in=["report", "help", "incident", "legal", "other"]),
                name="moderation_grant_basis",
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)


class Consent(models.Model):
    """A member's consent that staff read one conversation, for seven days."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="+")
    given_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["conversation"], condition=Q(revoked_at=None), name="moderation_one_consent"
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)


class SealedConversation(models.Model):
    """Conversation that was deleted before staff could open deleted ones: nobody ever opens it."""

    conversation = models.OneToOneField(Conversation, models.CASCADE, primary_key=True, related_name="+")

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.pk)


class OneTimeLink(models.Model):
    """Link by which a member sets a new password, once, within an hour. Staff made it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    member = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    digest = models.CharField(max_length=64, unique=True)  # SHA-256 of the token, which is stored nowhere
    made_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.pk)


class Policy(models.Model):
    """Rules that the site's owner sets in the admin. One row."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    members_see_looks = models.BooleanField(_("members see who looked"), default=True)
    changed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        default_permissions = ()
        constraints = [models.CheckConstraint(condition=Q(id=1), name="moderation_one_policy")]

    def __str__(self) -> str:
        return str(self.pk)


class AuditEvent(models.Model):
    """Row of the audit. Appended only: triggers refuse every change (migrations/_audit_guard.py).

    It has ids and codes, no name, no text and no foreign key. ``hash`` covers all columns and the hash of the
    row before (audit.py).
    """

    seq = models.BigIntegerField(primary_key=True)
    at = models.DateTimeField()
    # the ``audit_id`` of users. No actor is the operator, or Parley itself
    actor = models.UUIDField(null=True)
    member = models.UUIDField(null=True)
    action = models.CharField(max_length=32)
    object_type = models.CharField(max_length=32, blank=True)
    object_id = models.CharField(max_length=64, blank=True)
    reason = models.CharField(max_length=32, blank=True)
    grant = models.UUIDField(null=True)
    request = models.CharField(max_length=64, blank=True)
    # from when on the member reads of it; null: never
    told_from = models.DateTimeField(null=True)
    text_digest = models.CharField(max_length=64, blank=True)  # of its AuditText
    # only in a checkpoint: rows up to this one, which had this hash, may be deleted
    removed_through = models.BigIntegerField(null=True)
    removed_hash = models.CharField(max_length=64, blank=True)
    hash = models.CharField(max_length=64)

    class Meta:
        default_permissions = ()
        indexes = [
            # a member's page of who looked
            models.Index(
                fields=["member", "-seq"], condition=Q(member__isnull=False), name="moderation_audit_member"
            ),
            # the audit's filters
            models.Index(fields=["actor", "-seq"], name="moderation_audit_actor"),
            models.Index(fields=["action", "-seq"], name="moderation_audit_action"),
            models.Index(fields=["object_id", "-seq"], name="moderation_audit_object"),
            # the triggers and the checks
            models.Index(
                fields=["-removed_through"],
                condition=Q(removed_through__isnull=False),
                name="moderation_audit_removed",
            ),
            # the removal of old rows
            models.Index(fields=["at"], name="moderation_audit_at"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(removed_through=None, removed_hash="")
                | (Q(action="audit.checkpoint", removed_through__lt=models.F("seq")) & ~Q(removed_hash="")),
                name="moderation_audit_checkpoint",
            ),
        ]

    def __str__(self) -> str:
        return str(self.seq)


class AuditText(models.Model):
    """Reason or query that staff typed for a row of the audit. Erasable: the row has its digest only."""

    seq = models.BigIntegerField(primary_key=True)
    salt = models.CharField(max_length=64)
    text = models.TextField()
    # erased with either of them
    author = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, null=True, related_name="+")
    about = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, null=True, related_name="+")

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.seq)


class AuditHead(models.Model):
    """The newest row of the audit, and the lock that all writers take. One row."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    seq = models.BigIntegerField(default=0)
    hash = models.CharField(max_length=64, blank=True)
    logged_at = models.DateTimeField(null=True)  # when the head was last written to the log
    key_digest = models.CharField(max_length=64, blank=True)  # a process with another key is refused

    class Meta:
        default_permissions = ()
        constraints = [models.CheckConstraint(condition=Q(id=1), name="moderation_one_audit_head")]

    def __str__(self) -> str:
        return str(self.seq)


GRANT_MINUTES = 30
CONSENT_DAYS = 7
DELAY_DAYS_MAX = 30  # for which a look may be kept from the member
LINK_MINUTES = 60
GRANT_LENGTH, CONSENT_LENGTH, LINK_LENGTH = (
    timedelta(minutes=GRANT_MINUTES),
    timedelta(days=CONSENT_DAYS),
    timedelta(minutes=LINK_MINUTES),
)
