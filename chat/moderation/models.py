"""Tables of moderation: grants to read, consents of members, the audit, and the policy in force."""

import uuid
from datetime import timedelta
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from chat.models import Conversation, Message, Run, new_id
from chat.moderated import ModerationReason


class GrantReason(models.TextChoices):
    """GrantReason of a grant that nobody else has given."""

    REPORT = "report", _("A report")
    HELP = "help", _("The member asked for help")
    INCIDENT = "incident", _("A fault or an attack")
    LEGAL = "legal", _("A legal request")
    OTHER = "other", _("Another reason")


class ReviewItemQuerySet(models.QuerySet["ReviewItem"]):
    def undecided(self) -> "ReviewItemQuerySet":
        return self.filter(status__in=ReviewItem.UNDECIDED)


class ReviewItem(models.Model):
    """Something that moderators are to decide about: a message that was reported, or an appeal.

    OPEN → ACTIONED, DISMISSED or ESCALATED; ESCALATED → ACTIONED or DISMISSED; a report with a new reason
    opens a decided one again; an appeal makes it APPEALED → UPHELD or OVERTURNED. Each of these needs a
    claim, which is in force until ``claimed_until``.
    """

    class Status(models.TextChoices):
        OPEN = "open", _("Open")
        ESCALATED = "escalated", _("Escalated")
        APPEALED = "appealed", _("Appealed")
        ACTIONED = "actioned", _("Acted on")
        DISMISSED = "dismissed", _("Dismissed")
        UPHELD = "upheld", _("Upheld")
        OVERTURNED = "overturned", _("Overturned")

    UNDECIDED: ClassVar = [Status.OPEN, Status.ESCALATED, Status.APPEALED]

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    # the message and its conversation; none for an appeal against what was decided about the account, and
    # for a lock no message
    message = models.OneToOneField(Message, models.CASCADE, null=True, related_name="+")
    conversation = models.ForeignKey(Conversation, models.CASCADE, null=True, related_name="+")
    member = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    agent = models.CharField(max_length=128, blank=True)
    status = models.CharField(max_length=16, choices=Status, default=Status.OPEN)
    priority = models.PositiveIntegerField(default=0)  # the sum of its reports' (reports.py)
    opened_at = models.DateTimeField(default=timezone.now)  # also when it is opened again
    claimed_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    claimed_until = models.DateTimeField(null=True)
    decided_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    decided_at = models.DateTimeField(null=True)
    # committed before a letter about it is handed to the mail server
    mailed_at = models.DateTimeField(null=True)

    objects = ReviewItemQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        indexes = [
            # the queue: what is undecided, the most pressing first
            models.Index(
                fields=["-priority", "opened_at", "id"],
                condition=Q(status__in=["open", "escalated", "appealed"]),
                name="moderation_item_queue",
            ),
            models.Index(fields=["status", "-priority", "opened_at", "id"], name="moderation_item_status"),
            # the figures
            models.Index(
                fields=["-decided_at"], condition=Q(decided_at__isnull=False), name="moderation_item_decided"
            ),
            # my claims
            models.Index(
                fields=["claimed_by", "claimed_until"],
                condition=Q(claimed_by__isnull=False),
                name="moderation_item_claims",
            ),
            # letters that are due
            models.Index(
                fields=["opened_at"],
                condition=Q(mailed_at=None, status__in=["open", "escalated", "appealed"]),
                name="moderation_item_not_mailed",
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(
                    status__in=[
                        "open",
                        "escalated",
                        "appealed",
                        "actioned",
                        "dismissed",
                        "upheld",
                        "overturned",
                    ]
                ),
                name="moderation_item_status",
            ),
            models.CheckConstraint(
                condition=Q(status__in=["open", "escalated", "appealed"])
                | Q(decided_at__isnull=False, claimed_by=None, claimed_until=None),
                name="moderation_item_decided",
            ),
            models.CheckConstraint(
                condition=Q(message=None) | Q(conversation__isnull=False), name="moderation_item_target"
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)

    @property
    def is_undecided(self) -> bool:
        return self.status in self.UNDECIDED


class Report(models.Model):
    """A reason to look at a message: its owner's report or feedback, or a block by the model."""

    class Source(models.TextChoices):
        REPORT = "report", _("Report")
        FEEDBACK = "feedback", _("Bad feedback")
        BLOCK = "block", _("Blocked by the model")

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    item = models.ForeignKey(ReviewItem, models.CASCADE, related_name="reports")
    source = models.CharField(max_length=16, choices=Source)
    reason = models.CharField(max_length=16, choices=ModerationReason)
    note = models.TextField(blank=True)
    # None for a block
    member = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, null=True, related_name="+")
    reported_at = models.DateTimeField(default=timezone.now)

    class Meta:
        default_permissions = ()
        indexes = [
            # the limit per hour, and a member's own ones
            models.Index(fields=["member", "-reported_at"], name="moderation_report_of_member"),
            # the queue's filters
            models.Index(fields=["item", "source", "reason"], name="moderation_report_of_item"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(source__in=["report", "feedback", "block"]), name="moderation_report_source"
            ),
            models.CheckConstraint(
                condition=Q(reason__in=ModerationReason.values), name="moderation_report_reason"
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)


class ReviewNote(models.Model):
    """Private note of staff on an item."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    item = models.ForeignKey(ReviewItem, models.CASCADE, related_name="notes")
    author = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    text = models.TextField()
    written_at = models.DateTimeField(default=timezone.now)

    class Meta:
        default_permissions = ()
        ordering = ("written_at", "id")

    def __str__(self) -> str:
        return str(self.pk)


class DecisionQuerySet(models.QuerySet["Decision"]):
    def in_force(self) -> "DecisionQuerySet":
        return self.filter(ended_at=None).filter(Q(until=None) | Q(until__gt=Now()))


class Decision(models.Model):
    """Act of a moderator on a member's message, conversation, answer or account."""

    class Kind(models.TextChoices):
        HIDE = "hide", _("Message hidden")
        LOCK = "lock", _("Conversation locked")
        STOP = "stop", _("Answer stopped")
        WARN = "warn", _("Warning")
        SUSPEND = "suspend", _("Account suspended")

    REVERSIBLE: ClassVar = [Kind.HIDE, Kind.LOCK, Kind.SUSPEND]

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    kind = models.CharField(max_length=16, choices=Kind)
    member = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    conversation = models.ForeignKey(Conversation, models.CASCADE, null=True, related_name="+")
    message = models.ForeignKey(Message, models.CASCADE, null=True, related_name="+")
    run = models.UUIDField(null=True)  # the stopped one
    item = models.ForeignKey(ReviewItem, models.SET_NULL, null=True, related_name="decisions")
    reason = models.CharField(max_length=16, choices=ModerationReason)
    words = models.TextField(blank=True)  # that the member reads
    note = models.TextField(blank=True)  # that only staff read
    decided_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    decided_at = models.DateTimeField(default=timezone.now)
    until = models.DateTimeField(null=True)  # of a suspension
    ended_at = models.DateTimeField(null=True)  # taken back, or replaced by another one
    acknowledged_at = models.DateTimeField(null=True)  # of a warning

    objects = DecisionQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        indexes = [
            # a member's own ones, and those about a person
            models.Index(fields=["member", "-decided_at"], name="moderation_decision_of_member"),
            models.Index(fields=["-decided_at"], name="moderation_decision_newest"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(kind="hide", message__isnull=False, conversation__isnull=False, until=None)
                | Q(kind="lock", message=None, conversation__isnull=False, until=None)
                | Q(kind="stop", run__isnull=False, conversation__isnull=False, until=None)
                | Q(kind="warn", until=None)
                | Q(kind="suspend", until__isnull=False),
                name="moderation_decision_target",
            ),
            # each of them is in force once
            models.UniqueConstraint(
                fields=["message"], condition=Q(kind="hide", ended_at=None), name="moderation_hidden_once"
            ),
            models.UniqueConstraint(
                fields=["conversation"],
                condition=Q(kind="lock", ended_at=None),
                name="moderation_locked_once",
            ),
            models.UniqueConstraint(
                fields=["member"],
                condition=Q(kind="suspend", ended_at=None),
                name="moderation_suspended_once",
            ),
            models.UniqueConstraint(
                fields=["member"],
                condition=Q(kind="warn", ended_at=None, acknowledged_at=None),
                name="moderation_warned_once",
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)


class Appeal(models.Model):
    """A member's appeal against a decision: one for each."""

    class Outcome(models.TextChoices):
        UPHELD = "upheld", _("The decision stays")
        OVERTURNED = "overturned", _("The decision was taken back")

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    decision = models.OneToOneField(Decision, models.CASCADE, related_name="appeal")
    item = models.ForeignKey(ReviewItem, models.CASCADE, related_name="appeals")
    text = models.TextField()
    appealed_at = models.DateTimeField(default=timezone.now)
    outcome = models.CharField(max_length=16, choices=Outcome, blank=True)
    words = models.TextField(blank=True)  # that the member reads
    decided_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    decided_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ()
        constraints = [
            models.CheckConstraint(
                condition=Q(outcome="", decided_at=None)
                | Q(outcome__in=["upheld", "overturned"], decided_at__isnull=False),
                name="moderation_appeal_decided",
            ),
            models.UniqueConstraint(
                fields=["item"], condition=Q(outcome=""), name="moderation_one_appeal_of_item"
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)


class HiddenMessage(models.Model):
    """Content of a hidden message, for staff and for its restoration."""

    message = models.OneToOneField(Message, models.CASCADE, primary_key=True, related_name="+")
    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="+")
    text = models.TextField(blank=True)
    parts = models.JSONField(default=dict)
    html = models.TextField(blank=True)
    renderer_version = models.PositiveSmallIntegerField(default=0)
    feedback_detail = models.JSONField(null=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.pk)


class HiddenRun(models.Model):
    """Content of the run of a hidden question or reply, for its restoration.

    ``payloads`` are its ADK events, ``requests`` the columns of its requests, and ``user_state`` and
    ``app_state`` the values that it left in the memory of its agent.
    """

    run = models.OneToOneField(Run, models.CASCADE, primary_key=True, related_name="+")
    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="+")
    payloads = models.JSONField(default=list)
    requests = models.JSONField(default=dict)
    user_state = models.JSONField(default=dict)
    app_state = models.JSONField(default=dict)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.pk)


class HiddenTitle(models.Model):
    """Automatic title of a conversation with a hidden message; its date stands in its place."""

    conversation = models.OneToOneField(Conversation, models.CASCADE, primary_key=True, related_name="+")
    title = models.CharField(max_length=200)
    shown = models.CharField(max_length=200)  # the date

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.pk)


class AccessGrantQuerySet(models.QuerySet["AccessGrant"]):
    def in_force(self) -> "AccessGrantQuerySet":
        return self.filter(revoked_at=None, expires_at__gt=timezone.now())


class AccessGrant(models.Model):
    """Right of one member of the staff to read one conversation, or to search texts, for 30 minutes.

    That to an item, which its claim gives, is for the item's message and two on either side.
    """

    class Scope(models.TextChoices):
        CONVERSATION = "conversation", _("One conversation")
        ITEM = "item", _("One item of the review queue")
        SEARCH = "search", _("Search of texts")

    class Basis(models.TextChoices):
        CONSENT = "consent", _("The member allowed it")
        BREAK_GLASS = "break_glass", _("With a reason")
        REPORT = "report", _("A report")

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    staff = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="access_grants")
    scope = models.CharField(max_length=16, choices=Scope)
    conversation = models.ForeignKey(Conversation, models.CASCADE, null=True, related_name="+")
    item = models.ForeignKey(ReviewItem, models.CASCADE, null=True, related_name="+")
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
                condition=Q(scope="conversation", conversation__isnull=False, item=None)
                | Q(scope="item", conversation__isnull=False, item__isnull=False)
                | Q(scope="search", conversation=None, item=None),
                name="moderation_grant_scope",
            ),
            models.CheckConstraint(
                condition=Q(basis="consent", scope="conversation", reason="")
                | Q(basis="report", scope="item", reason="")
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
    # sources of the review queue
    takes_reports = models.BooleanField(_("members can report replies"), default=True)
    takes_feedback = models.BooleanField(_("bad feedback with a reason is reviewed"), default=False)
    takes_blocks = models.BooleanField(_("answers that the model blocks are reviewed"), default=False)
    watches_live = models.BooleanField(_("staff can watch answers live"), default=False)
    # when the daily letter about the queue was last sent
    digest_at = models.DateTimeField(null=True)
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
