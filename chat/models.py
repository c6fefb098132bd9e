"""Database tables. Each invariant is a constraint here; a comment at each index names its query."""

import uuid
from collections.abc import Sequence
from itertools import chain
from typing import ClassVar

import uuid_utils.compat
from django.conf import settings
from django.db import connection, models
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.models import User


def new_id() -> uuid.UUID:
    """Return a UUIDv7: rows land next to each other in the index. Order never relies on it."""
    return uuid_utils.compat.uuid7()


class ConversationQuerySet(models.QuerySet["Conversation"]):
    def visible_to(self, user: User) -> "ConversationQuerySet":
        return self.filter(owner=user, deleted_at=None)

    def with_answering(self) -> "ConversationQuerySet":
        """Annotate each with ``is_answering``: whether a run is active in it."""
        active = Run.objects.active().filter(conversation=models.OuterRef("pk"))
        return self.annotate(is_answering=models.Exists(active))

    def with_active_run(self) -> "ConversationQuerySet":
        """Annotate each with ``active_run``: the id of its active run, or None."""
        active = Run.objects.active().filter(conversation=models.OuterRef("pk"))
        return self.annotate(active_run=models.Subquery(active.values("pk")[:1]))

    def reviewable(self) -> "ConversationQuerySet":
        """Return the conversations that moderators may see. A deleted one is gone for them, too."""
        return self.filter(deleted_at=None)


class Conversation(models.Model):
    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="conversations", verbose_name=_("owner")
    )
    agent = models.CharField(_("agent"), max_length=128)
    title = models.CharField(max_length=200)
    title_is_manual = models.BooleanField(default=False)
    # the end of the active branch
    head = models.ForeignKey("Message", models.SET_NULL, null=True, blank=True, related_name="+")
    pinned_at = models.DateTimeField(null=True, blank=True)
    locked_at = models.DateTimeField(null=True, blank=True)
    deleted_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)
    # number of its last change (creation, new name, pin, deletion, …) in its owner's ledger
    last_change = models.PositiveBigIntegerField(default=0)

    objects = ConversationQuerySet.as_manager()

    class Meta:
        verbose_name, verbose_name_plural = _("conversation"), _("conversations")
        indexes = [
            # the sidebar and GET /api/v1/conversations: newest activity first, by keyset
            models.Index(fields=["owner", "-updated_at", "-id"], name="chat_conversation_sidebar"),
            # the socket: changes after a number
            models.Index(fields=["owner", "last_change"], name="chat_conversation_changes"),
            # the admin: newest activity of all members, and with one agent
            models.Index(
                fields=["-updated_at", "-id"],
                condition=models.Q(deleted_at=None),
                name="chat_conversation_activity",
            ),
            models.Index(
                fields=["agent", "-updated_at", "-id"],
                condition=models.Q(deleted_at=None),
                name="chat_conversation_agent",
            ),
        ]

    def __str__(self) -> str:
        return self.title


class MessageQuerySet(models.QuerySet["Message"]):
    def branch(self, end: uuid.UUID | None, *, limit: int) -> list["Message"]:
        """Return the last ``limit`` messages of the branch that ends in ``end``, in reading order.

        The cost depends on ``limit``, not on the length of the conversation.
        """
        if end is None:
            return []
        ids = [message_id for message_id, _depth in self._walk_up(end, limit)]
        found = self.in_bulk(ids)
        return [found[message_id] for message_id in reversed(ids)]

    def siblings_of(self, messages: Sequence["Message"]) -> dict[uuid.UUID | None, list[uuid.UUID]]:
        """Return the siblings of messages of one conversation, oldest first, by their parent."""
        found: dict[uuid.UUID | None, list[uuid.UUID]] = {message.parent_id: [] for message in messages}
        if messages:
            family = self.filter(conversation=messages[0].conversation_id).order_by("created_at", "id")
            below = family.filter(parent__in=[parent for parent in found if parent])
            tops = family.filter(parent=None) if None in found else family.none()
            for pk, parent in chain(
                below.values_list("pk", "parent_id"), tops.values_list("pk", "parent_id")
            ):
                found[parent].append(pk)
        return found

    def leaf_below(self, message: uuid.UUID) -> uuid.UUID:
        """Return the end of the newest branch through ``message``: newest child by newest child."""
        field = Message._meta.pk
        with connection.cursor() as cursor:
            cursor.execute(
                """
                WITH RECURSIVE line (id, depth) AS (
                    SELECT id, 1 FROM chat_message WHERE id = %s
                    UNION ALL
                    SELECT (
                        SELECT m.id FROM chat_message m WHERE m.parent_id = l.id
                        ORDER BY m.created_at DESC, m.id DESC LIMIT 1
                    ), l.depth + 1
                    FROM line l WHERE l.id IS NOT NULL
                )
                SELECT id FROM line WHERE id IS NOT NULL ORDER BY depth DESC LIMIT 1
                """,
                [field.get_db_prep_value(message, connection)],
            )
            return field.to_python(cursor.fetchone()[0])  # type: ignore[no-any-return]

    def _walk_up(self, end: uuid.UUID, limit: int) -> list[tuple[uuid.UUID, int]]:
        field = Message._meta.pk
        value = field.get_db_prep_value(end, connection)
        with connection.cursor() as cursor:
            cursor.execute(
                """
                WITH RECURSIVE branch (id, parent_id, depth) AS (
                    SELECT id, parent_id, 1 FROM chat_message WHERE id = %s
                    UNION ALL
                    SELECT m.id, m.parent_id, b.depth + 1
                    FROM chat_message m JOIN branch b ON m.id = b.parent_id
                    WHERE b.depth < %s
                )
                SELECT id, depth FROM branch ORDER BY depth
                """,
                [value, limit],
            )
            return [(field.to_python(found), depth) for found, depth in cursor.fetchall()]


class Message(models.Model):
    """Question or reply, written once. Messages are a tree: edits and regenerated replies are siblings."""

    class Role(models.TextChoices):
        USER = "user"
        ASSISTANT = "assistant"

    class Feedback(models.IntegerChoices):
        GOOD = 1
        BAD = -1

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="messages")
    parent = models.ForeignKey("self", models.CASCADE, null=True, blank=True, related_name="children")
    role = models.CharField(max_length=16, choices=Role.choices)
    agent = models.CharField(max_length=128, blank=True)
    text = models.TextField(blank=True)
    parts = models.JSONField(default=dict)
    html = models.TextField(blank=True)
    renderer_version = models.PositiveSmallIntegerField(default=0)
    # the run that wrote it; only replies have one
    run = models.ForeignKey("Run", models.SET_NULL, null=True, blank=True, related_name="+")
    feedback = models.SmallIntegerField(choices=Feedback.choices, null=True, blank=True)
    hidden_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    objects = MessageQuerySet.as_manager()

    class Meta:
        indexes = [
            # siblings, and the newest leaf below a message
            models.Index(fields=["conversation", "parent", "created_at"], name="chat_message_tree"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(role__in=["user", "assistant"]), name="chat_message_role"
            ),
            models.CheckConstraint(
                condition=models.Q(role="assistant") | models.Q(run=None), name="chat_message_run_of_reply"
            ),
            models.CheckConstraint(
                condition=models.Q(feedback=None) | models.Q(feedback__in=[1, -1]),
                name="chat_message_feedback",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.role} {self.id}"


class RunQuerySet(models.QuerySet["Run"]):
    def active(self) -> "RunQuerySet":
        return self.filter(status__in=Run.ACTIVE)

    def visible_to(self, user: User) -> "RunQuerySet":
        return self.filter(owner=user, conversation__owner=user, conversation__deleted_at=None)

    def reviewable(self) -> "RunQuerySet":
        # Not a join: with one, SQLite starts at the conversations and reads them all for a page of runs.
        kept = Conversation.objects.filter(pk=models.OuterRef("conversation"), deleted_at=None)
        return self.filter(models.Exists(kept))


class Run(models.Model):
    """Execution of an agent, which answers one prompt. Only a run is ever in progress, never a message."""

    class Status(models.TextChoices):
        QUEUED = "queued", _("Queued")
        RUNNING = "running", _("Running")
        COMPLETED = "completed", _("Completed")
        STOPPED = "stopped", _("Stopped")
        FAILED = "failed", _("Failed")
        EXPIRED = "expired", _("Expired")

    class Mode(models.TextChoices):
        SSE = "sse", _("SSE")
        NONE = "none", _("None")

    ACTIVE: ClassVar = [Status.QUEUED, Status.RUNNING]

    id = models.UUIDField(_("id"), primary_key=True, default=new_id, editable=False)
    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="runs")
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="runs", verbose_name=_("owner")
    )
    client_id = models.UUIDField(_("client id"), null=True, blank=True)
    request_digest = models.CharField(max_length=64, blank=True)
    prompt = models.ForeignKey(Message, models.CASCADE, related_name="answers")
    reply = models.OneToOneField(Message, models.CASCADE, null=True, blank=True, related_name="+")
    mode = models.CharField(_("mode"), max_length=8, choices=Mode.choices, default=Mode.SSE)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.QUEUED)
    attempt = models.PositiveSmallIntegerField(_("attempt"), default=1)
    process = models.ForeignKey(
        "Process", models.SET_NULL, null=True, blank=True, related_name="runs", verbose_name=_("process")
    )
    # raised by each claim, take-over and hand-over: the holder of an older one can no longer write
    epoch = models.PositiveIntegerField(_("epoch"), default=0)
    invocation_id = models.CharField(_("invocation id"), max_length=64, blank=True)
    # seq of the terminal event, stored with it; 0 until then
    last_seq = models.PositiveIntegerField(_("last seq"), default=0)
    # ADK's session state after this run. JSON text keeps numbers and NaN as they were
    state_after = models.TextField(default="{}")
    stop_requested_at = models.DateTimeField(_("stop requested at"), null=True, blank=True)
    code = models.CharField(_("code"), max_length=32, blank=True)
    finish = models.CharField(_("finish"), max_length=16, blank=True)
    # the exception that failed its agent: kind, place, message, traceback. The message may quote
    # members: show it only to users who may open the transcript
    failure = models.JSONField(null=True, blank=True, editable=False)
    usage_input = models.PositiveBigIntegerField(_("usage input"), default=0)
    usage_output = models.PositiveBigIntegerField(_("usage output"), default=0)
    usage_thought = models.PositiveBigIntegerField(_("usage thought"), default=0)
    usage_cached = models.PositiveBigIntegerField(_("usage cached"), default=0)
    usage_total = models.PositiveBigIntegerField(_("usage total"), default=0)
    usage_calls = models.PositiveIntegerField(_("usage calls"), default=0)
    ttft_ms = models.PositiveIntegerField(null=True, blank=True)
    duration_ms = models.PositiveIntegerField(null=True, blank=True)
    deltas = models.PositiveIntegerField(_("deltas"), default=0)
    bytes = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(_("ended at"), null=True, blank=True)
    # ledger number of its creation; overwritten at its end
    last_change = models.PositiveBigIntegerField(default=0)

    objects = RunQuerySet.as_manager()

    class Meta:
        verbose_name, verbose_name_plural = _("run"), _("runs")
        indexes = [
            # the newest run of a prompt: the branch, the context, the page
            models.Index(fields=["prompt", "-created_at"], name="chat_run_of_prompt"),
            # the sweep, and the limit of active runs per member
            models.Index(
                fields=["status", "process"], condition=models.Q(ended_at=None), name="chat_run_active"
            ),
            # the socket: changes after a number
            models.Index(fields=["owner", "last_change"], name="chat_run_changes"),
            # the instruments page: runs that ended in the last hours
            models.Index(
                fields=["-ended_at"], condition=models.Q(ended_at__isnull=False), name="chat_run_ended_last"
            ),
            # the admin: the newest runs, of one status, with one code, and the last one of a conversation
            models.Index(fields=["-created_at", "-id"], name="chat_run_newest"),
            models.Index(fields=["status", "-created_at", "-id"], name="chat_run_of_status"),
            models.Index(
                fields=["code", "-created_at", "-id"], condition=~models.Q(code=""), name="chat_run_of_code"
            ),
            models.Index(fields=["conversation", "-created_at", "-id"], name="chat_run_of_conversation"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["conversation"],
                condition=models.Q(status__in=["queued", "running"]),
                name="chat_run_one_active",
            ),
            models.UniqueConstraint(
                fields=["owner", "client_id"],
                condition=models.Q(client_id__isnull=False),
                name="chat_run_client_id",
            ),
            models.CheckConstraint(
                condition=models.Q(status__in=["queued", "running"], ended_at=None)
                | models.Q(status__in=["completed", "stopped", "failed", "expired"], ended_at__isnull=False),
                name="chat_run_ended",
            ),
            models.CheckConstraint(
                condition=~models.Q(status="completed") | models.Q(reply__isnull=False),
                name="chat_run_completed_has_reply",
            ),
            models.CheckConstraint(
                condition=models.Q(ended_at=None) | models.Q(last_seq__gte=2),
                name="chat_run_terminal_seq",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.status} {self.id}"

    @property
    def is_active(self) -> bool:
        return self.status in self.ACTIVE

    def usage(self) -> dict[str, int]:
        return {
            "input": self.usage_input,
            "output": self.usage_output,
            "thought": self.usage_thought,
            "cached": self.usage_cached,
            "total": self.usage_total,
            "calls": self.usage_calls,
        }


class RunEvent(models.Model):
    """Numbered event in a run's log, as it is sent. Appended, never changed."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="events")
    seq = models.PositiveIntegerField()
    type = models.CharField(max_length=32)
    data = models.TextField()  # JSON text: a replay sends the same bytes as the live stream

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "seq"], name="chat_event_seq"),
            models.CheckConstraint(condition=models.Q(seq__gte=1), name="chat_event_seq_from_1"),
        ]

    def __str__(self) -> str:
        return f"{self.run_id}:{self.seq} {self.type}"


class SessionEvent(models.Model):
    """Complete ADK event of a run, as JSON text."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="session_events")
    position = models.PositiveIntegerField()
    payload = models.TextField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "position"], name="chat_session_event_position"),
        ]

    def __str__(self) -> str:
        return f"{self.run_id} [{self.position}]"


class UserState(models.Model):
    """One key of ADK's ``user:`` scope: shared by a member's conversations with one agent."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    agent = models.CharField(max_length=128)
    key = models.CharField(max_length=512)
    value = models.TextField()  # JSON text

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "agent", "key"], name="chat_user_state_key"),
        ]

    def __str__(self) -> str:
        return f"{self.agent} user:{self.key}"


class AppState(models.Model):
    """One key of ADK's ``app:`` scope: shared by all conversations with one agent."""

    agent = models.CharField(max_length=128)
    key = models.CharField(max_length=512)
    value = models.TextField()  # JSON text

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["agent", "key"], name="chat_app_state_key"),
        ]

    def __str__(self) -> str:
        return f"{self.agent} app:{self.key}"


class Ledger(models.Model):
    """Number of changes so far of a member's conversations and runs (chat/changes.py)."""

    owner = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, primary_key=True, related_name="+")
    last_change = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.owner_id}: {self.last_change}"


class Process(models.Model):
    """Server process that executes runs; alive while its heartbeat is fresh by the database's clock."""

    id = models.UUIDField(_("id"), primary_key=True, default=uuid.uuid4, editable=False)
    host = models.CharField(_("host"), max_length=255)
    pid = models.PositiveIntegerField(_("pid"))
    boot_id = models.CharField(_("boot id"), max_length=64)
    version = models.CharField(_("version"), max_length=32)
    started_at = models.DateTimeField(_("started at"), db_default=Now())
    heartbeat_at = models.DateTimeField(_("heartbeat at"), db_default=Now())
    draining = models.BooleanField(_("draining"), default=False)
    # true for the only server of a SQLite file, null on PostgreSQL
    exclusive = models.BooleanField(_("exclusive"), null=True, blank=True)

    class Meta:
        verbose_name, verbose_name_plural = _("process"), _("processes")
        constraints = [
            models.UniqueConstraint(fields=["exclusive"], name="chat_process_one_on_sqlite"),
            models.CheckConstraint(
                condition=models.Q(exclusive=None) | models.Q(exclusive=True), name="chat_process_exclusive"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"


class Sample(models.Model):
    """Counts of one process in about one minute, kept for two days (chat/samples.py)."""

    # not a foreign key: the counts outlive the process
    process = models.UUIDField()
    at = models.DateTimeField(db_default=Now())
    figures = models.JSONField()

    class Meta:
        default_permissions = ("view",)  # only the server writes samples
        indexes = [
            # the instruments page, and the pruning
            models.Index(fields=["at"], name="chat_sample_at"),
        ]

    def __str__(self) -> str:
        return f"{self.process} {self.at:%H:%M}"


class Suggestion(models.Model):
    """Question that the empty page suggests. Without any, Parley's own ones are shown."""

    text = models.CharField(_("text"), max_length=200)
    position = models.PositiveSmallIntegerField(_("position"), default=1)

    class Meta:
        verbose_name, verbose_name_plural = _("suggestion"), _("suggestions")
        ordering = ("position", "id")

    def __str__(self) -> str:
        return self.text
