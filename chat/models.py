"""Database tables. Each invariant is a constraint here; a comment at each index names its query."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import ClassVar

import uuid_utils.compat
from django.conf import settings
from django.db import connection, models
from django.db.models.expressions import RawSQL
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.models import User, able_to_ask
from accounts.statements import Statement
from chat.events import Row


def new_id() -> uuid.UUID:
    """Return a UUIDv7: rows land next to each other in the index. Order never relies on it."""
    return uuid_utils.compat.uuid7()


_IS_WAITING = """(chat_conversation.locked_at IS NULL AND EXISTS (
    SELECT 1 FROM chat_personrequest AS request JOIN chat_run AS run ON request.run_id = run.id
    JOIN chat_message AS reply ON reply.id = run.reply_id AND reply.hidden_at IS NULL
    WHERE run.reply_id = chat_conversation.head_id AND request.decision = '' AND NOT request.is_job
        AND request.approvers = '' AND request.expires_at > %s
))"""


class ConversationQuerySet(models.QuerySet["Conversation"]):
    def visible_to(self, user: User | int) -> "ConversationQuerySet":
        return self.filter(owner=user, deleted_at=None)

    def listed(self, *, archived: bool = False) -> list["ConversationQuerySet"]:
        """Return the parts of a member's list, in order: pinned and other ones, or the archived ones."""
        if archived:
            return [self.filter(archived_at__isnull=False)]
        kept = self.filter(archived_at=None)
        return [kept.filter(pinned_at__isnull=False), kept.filter(pinned_at=None)]

    def with_marks(self, now: datetime) -> "ConversationQuerySet":
        """Annotate each with its ``active_run`` and with ``is_waiting``: it asks its owner."""
        value = connection.ops.adapt_datetimefield_value(now)
        return self.with_active_run().annotate(
            is_waiting=RawSQL(_IS_WAITING, [value]),  # noqa: S611  (a constant)
        )

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
    # not in the list, but in the list of archived ones, until it is taken out or asked in again
    archived_at = models.DateTimeField(null=True, blank=True)
    # set by a moderator, with the reason and the words that its owner reads
    locked_at = models.DateTimeField(null=True, blank=True)
    locked_reason = models.CharField(max_length=32, null=True, blank=True)  # noqa: DJ001  (see queue_change)
    locked_words = models.TextField(null=True, blank=True)  # noqa: DJ001
    deleted_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)
    # number of its last change (creation, new name, pin, deletion, …) in its owner's ledger
    last_change = models.PositiveBigIntegerField(default=0)
    # the same, of the last change of its requests to a person. Null, so that SQLite adds the column without
    # a copy of the table, whose triggers would break
    waiting_change = models.PositiveBigIntegerField(null=True, blank=True)
    # the same for its queue. Null, so that SQLite adds the column without copying the table
    queue_change = models.PositiveBigIntegerField(null=True, blank=True)

    objects = ConversationQuerySet.as_manager()

    class Meta:
        verbose_name, verbose_name_plural = _("conversation"), _("conversations")
        indexes = [
            # the sidebar and GET /api/v1/conversations: newest activity first, by keyset. One for each part
            # of the list, so that 10,000 archived ones cost nothing
            models.Index(
                fields=["owner", "-updated_at", "-id"],
                condition=models.Q(deleted_at=None, archived_at=None, pinned_at=None),
                name="chat_conversation_sidebar",
            ),
            models.Index(
                fields=["owner", "-updated_at", "-id"],
                condition=models.Q(deleted_at=None, archived_at=None, pinned_at__isnull=False),
                name="chat_conversation_pinned",
            ),
            models.Index(
                fields=["owner", "-updated_at", "-id"],
                condition=models.Q(deleted_at=None, archived_at__isnull=False),
                name="chat_conversation_archived",
            ),
            # the socket: changes after a number
            models.Index(fields=["owner", "last_change"], name="chat_conversation_changes"),
            models.Index(
                fields=["owner", "waiting_change"],
                condition=models.Q(waiting_change__isnull=False),
                name="chat_conversation_waiting",
            ),
            models.Index(
                fields=["owner", "queue_change"],
                condition=models.Q(queue_change__isnull=False),
                name="chat_conversation_queues",
            ),
            # the purge
            models.Index(
                fields=["deleted_at"],
                condition=models.Q(deleted_at__isnull=False),
                name="chat_conversation_deleted",
            ),
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
        return str(self.pk)  # Django's admin shows and logs it: no title


BRANCH_MAX = 100_000  # messages


@dataclass(frozen=True, slots=True)
class BranchLink:
    """A message of a branch, without its text."""

    id: uuid.UUID
    parent_id: uuid.UUID | None
    run_id: uuid.UUID | None
    role: str
    is_hidden: bool


class MessageQuerySet(models.QuerySet["Message"]):
    def branch(self, end: uuid.UUID | None, *, limit: int) -> list["Message"]:
        """Return the last ``limit`` messages of the branch that ends in ``end``, in reading order.

        The cost depends on ``limit``, not on the length of the conversation.
        """
        ids = self.ids_above(end, limit)
        found = self.in_bulk(ids)
        return [found[message_id] for message_id in reversed(ids)]

    def ids_in_branch(self, wanted: Iterable[uuid.UUID | None], end: uuid.UUID) -> list[uuid.UUID]:
        """Return those of the ``wanted`` messages that are on the branch up to ``end``."""
        wanted = set(wanted)
        return [pk for pk in self.ids_above(end, BRANCH_MAX) if pk in wanted]

    def siblings_of(self, messages: Sequence["Message"]) -> dict[uuid.UUID | None, list[uuid.UUID]]:
        """Return the siblings of messages of one conversation, oldest first, by their parent."""
        found: dict[uuid.UUID | None, list[uuid.UUID]] = {message.parent_id: [] for message in messages}
        if messages:
            conversation = messages[0].conversation_id
            below = _below.all(conversation, [parent for parent in found if parent])
            for pk, parent in chain(below, _tops.all(conversation) if None in found else ()):
                found[parent].append(pk)
        return found

    def leaf_below(self, message: uuid.UUID, stop: uuid.UUID | None = None) -> uuid.UUID:
        """Return the end of the newest branch through ``message``: newest child by newest child.

        A branch through ``stop`` ends there.
        """
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
                    FROM line l WHERE l.id IS NOT NULL AND l.id <> %s
                )
                SELECT id FROM line WHERE id IS NOT NULL ORDER BY depth DESC LIMIT 1
                """,
                [field.get_db_prep_value(value, connection) for value in (message, stop or uuid.UUID(int=0))],
            )
            return field.to_python(cursor.fetchone()[0])  # type: ignore[no-any-return]

    def ids_above(self, end: uuid.UUID | None, limit: int) -> list[uuid.UUID]:
        """Return the ids of the last ``limit`` messages of the branch that ends in ``end``, newest first."""
        return [found.id for found in self.links_above(end, limit)]

    def links_above(self, end: uuid.UUID | None, limit: int) -> list[BranchLink]:
        """Return the last ``limit`` messages of the branch that ends in ``end``, newest first."""
        if end is None:
            return []
        field = Message._meta.pk
        value = field.get_db_prep_value(end, connection)
        with connection.cursor() as cursor:
            cursor.execute(
                """
                WITH RECURSIVE branch (id, parent_id, run_id, role, is_hidden, depth) AS (
                    SELECT id, parent_id, run_id, role, hidden_at IS NOT NULL, 1
                    FROM chat_message WHERE id = %s
                    UNION ALL
                    SELECT m.id, m.parent_id, m.run_id, m.role, m.hidden_at IS NOT NULL, b.depth + 1
                    FROM chat_message m JOIN branch b ON m.id = b.parent_id
                    WHERE b.depth < %s
                )
                SELECT id, parent_id, run_id, role, is_hidden FROM branch ORDER BY depth
                """,
                [value, limit],
            )
            return [
                BranchLink(
                    field.to_python(pk), field.to_python(parent), field.to_python(run), role, bool(hidden)
                )
                for pk, parent, run, role, hidden in cursor.fetchall()
            ]


def _children(conversation: uuid.UUID) -> "models.QuerySet[Message, tuple[uuid.UUID, uuid.UUID | None]]":
    found = Message.objects.filter(conversation=conversation)
    return found.order_by("created_at", "id").values_list("pk", "parent_id")


_below = Statement(lambda conversation, parents: _children(conversation).filter(parent__in=parents))
_tops = Statement(lambda conversation: _children(conversation).filter(parent=None))


class Message(models.Model):
    """Question or reply, written once. Messages are a tree: edits and regenerated replies are siblings.

    The prompt of a spoken turn is stored before its words are known: ``lifecycle`` writes them later.
    """

    class Role(models.TextChoices):
        USER = "user"
        ASSISTANT = "assistant"

    class Feedback(models.IntegerChoices):
        GOOD = 1, _("rated good")
        BAD = -1, _("rated bad")

    class Reason(models.TextChoices):
        """Reason for bad feedback."""

        WRONG = "wrong", _("It is wrong")
        UNHELPFUL = "unhelpful", _("It does not help")
        UNSAFE = "unsafe", _("It is harmful or unsafe")
        LENGTH = "length", _("It is too long or too short")
        OTHER = "other", _("Something else")

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
    feedback_at = models.DateTimeField(null=True, blank=True)
    feedback_detail = models.JSONField(null=True, blank=True)  # its reasons and text
    # hidden by a moderator, with the reason and the words that its owner reads. Then it has no text: a table
    # of chat/moderation keeps that
    hidden_at = models.DateTimeField(null=True, blank=True)
    hidden_reason = models.CharField(max_length=32, null=True, blank=True)  # noqa: DJ001
    hidden_words = models.TextField(null=True, blank=True)  # noqa: DJ001
    created_at = models.DateTimeField(default=timezone.now)

    objects = MessageQuerySet.as_manager()

    class Meta:
        indexes = [
            # siblings, and the newest leaf below a message
            models.Index(fields=["conversation", "parent", "created_at"], name="chat_message_tree"),
            # the admin: the newest feedback, and that of a time
            models.Index(
                fields=["-feedback_at", "feedback"],
                condition=models.Q(feedback_at__isnull=False),
                name="chat_message_rated",
            ),
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

    def counted(self) -> "RunQuerySet":
        """Return the runs that figures count: not what a restarted run had shown (docs/decisions/0037).

        That is kept as a run of its own, which no change announces.
        """
        return self.filter(last_change__gt=0)

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
        LIVE = "live", _("Live")

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
    # as the provider reported it last. A default of the database: servers of the version before insert none
    model = models.CharField(_("model"), max_length=128, blank=True, db_default="")
    # seq of the terminal event, stored with it; 0 until then
    last_seq = models.PositiveIntegerField(_("last seq"), default=0)
    # ADK's session state after this run. JSON text keeps numbers and NaN as they were
    state_after = models.TextField(default="{}")
    stop_requested_at = models.DateTimeField(_("stop requested at"), null=True, blank=True)
    # the code with which it ends if it is stopped by somebody else than its owner
    stop_code = models.CharField(max_length=32, null=True, blank=True)  # noqa: DJ001
    # of a run whose question or reply is hidden: digests of the values that it left in the session's state
    # (memory/hidden.py). Later runs are given neither these nor its files
    hidden_marks = models.JSONField(null=True, blank=True, editable=False)
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

    begun: "Row | None" = None  # the first row of its log, on the instance that ``begin_run`` returns

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
            # each run: what hidden ones of the member have left
            models.Index(
                fields=["owner"], condition=models.Q(hidden_marks__isnull=False), name="chat_run_hidden"
            ),
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


QUEUE_MAX = 5  # queued asks of a conversation


class QueuedAsk(models.Model):
    """Question that is asked when its conversation can take it. Its run will have its id."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="queue")
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    client_id = models.UUIDField(null=True, blank=True)
    request_digest = models.CharField(max_length=64, blank=True)
    text = models.TextField()
    files = models.JSONField(null=True, blank=True)  # ids of uploads. Null, as Conversation.queue_change
    mode = models.CharField(max_length=8, choices=Run.Mode, default=Run.Mode.SSE)
    # 1 is asked next. Without a gap: with the constraints, at most QUEUE_MAX
    position = models.PositiveSmallIntegerField()
    # it has stopped the run before it, so it is asked after any end of that run
    interrupts = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        default_permissions = ()  # only its member reads it
        ordering = ("position",)
        constraints = [
            # also the queue of a conversation, in order
            models.UniqueConstraint(fields=["conversation", "position"], name="chat_queued_position"),
            models.CheckConstraint(
                condition=models.Q(position__gte=1, position__lte=QUEUE_MAX), name="chat_queued_at_most"
            ),
            models.UniqueConstraint(
                fields=["owner", "client_id"],
                condition=models.Q(client_id__isnull=False),
                name="chat_queued_client_id",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.position} {self.id}"


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


class PersonRequestQuerySet(models.QuerySet["PersonRequest"]):
    def undecided(self) -> "PersonRequestQuerySet":
        """Return those without a decision that are not expired; some may have lapsed."""
        return self.filter(decision="", expires_at__gt=timezone.now())

    def waiting(self) -> "PersonRequestQuerySet":
        """Return the undecided ones that are open; of jobs also those that are not in the active branch."""
        return (
            self.undecided()
            .filter(
                models.Q(is_job=True) | models.Q(run__reply=models.F("run__conversation__head")),
                run__conversation__deleted_at=None,
                run__conversation__locked_at=None,
                run__reply__hidden_at=None,
            )
            .filter(able_to_ask("run__owner__"))
        )


class PersonRequest(models.Model):
    """A call that waits for a person. Its run has ended; the run that ``answered_by`` names goes on.

    It is open while it has no decision, is not expired, and its reply is the end of the active branch. A
    *job*, whose tool has returned a first value, stays open when the conversation goes on. None is
    open while its reply is hidden.
    """

    class Kind(models.TextChoices):
        CONFIRM = "confirm", _("Confirmation")
        INPUT = "input", _("Question")
        TOOL = "tool", _("Long-running tool")

    class Decision(models.TextChoices):
        APPROVE = "approve", _("Approved")
        REJECT = "reject", _("Rejected")
        ANSWER = "answer", _("Answered")

    id = models.UUIDField(_("id"), primary_key=True, default=new_id, editable=False)
    run = models.ForeignKey(Run, models.CASCADE, related_name="requests")
    kind = models.CharField(_("kind"), max_length=16, choices=Kind.choices)
    # ids of ADK's function calls: the tool's, and the one that the answer names. They differ if ADK asks
    # whether the tool may run
    call = models.CharField(max_length=128)
    asking_call = models.CharField(max_length=128)
    tool = models.CharField(_("tool"), max_length=128)
    args = models.JSONField(default=dict)
    hint = models.TextField(blank=True)
    schema = models.JSONField(null=True, blank=True)  # of the payload of an answer
    payload = models.JSONField(null=True, blank=True)  # what the agent gives the person to decide with
    is_job = models.BooleanField(default=False)
    # name of the group that decides, as APPROVERS had it when the request was stored; empty: the asker
    approvers = models.CharField(_("approvers"), max_length=150, blank=True, db_default="")
    asked_at = models.DateTimeField(_("asked at"), default=timezone.now)
    expires_at = models.DateTimeField(_("expires at"))
    decision = models.CharField(_("decision"), max_length=16, choices=Decision.choices, blank=True)
    answer = models.JSONField(null=True, blank=True)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    decided_at = models.DateTimeField(_("decided at"), null=True, blank=True)
    answered_by = models.ForeignKey(Run, models.CASCADE, null=True, blank=True, related_name="answered")
    # committed before the tool is entered: from then on it may have acted
    started_at = models.DateTimeField(null=True, blank=True)
    # committed before a letter about it is handed to the mail server
    mailed_at = models.DateTimeField(null=True, blank=True)

    objects = PersonRequestQuerySet.as_manager()

    class Meta:
        verbose_name, verbose_name_plural = _("request"), _("requests")
        indexes = [
            # what waits for a member's groups
            models.Index(
                fields=["approvers", "asked_at"],
                condition=models.Q(decision="") & ~models.Q(approvers=""),
                name="chat_request_of_approvers",
            ),
            # about which letters are due
            models.Index(
                fields=["asked_at"],
                condition=models.Q(decision="", mailed_at=None),
                name="chat_request_not_mailed",
            ),
        ]
        constraints = [
            models.UniqueConstraint(fields=["run", "asking_call"], name="chat_request_call"),
            models.CheckConstraint(
                condition=models.Q(kind__in=["confirm", "input", "tool"]), name="chat_request_kind"
            ),
            models.CheckConstraint(
                condition=models.Q(decision="", decided_at=None, answered_by=None)
                | models.Q(decision__in=["approve", "reject", "answer"], decided_at__isnull=False),
                name="chat_request_decided",
            ),
            models.CheckConstraint(
                condition=models.Q(started_at=None) | models.Q(decision="approve"),
                name="chat_request_started",
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)

    @property
    def is_of_node(self) -> bool:
        """Return whether a workflow's node asks before it runs: then no tool is called."""
        return self.kind == self.Kind.CONFIRM and self.call == self.asking_call


class RequestLook(models.Model):
    """Record that an approver was shown a request of another member. Appended, never changed."""

    request = models.ForeignKey(PersonRequest, models.CASCADE, related_name="looks")
    person = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    looked_at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [
            # whether a look is recorded already
            models.Index(fields=["person", "request", "looked_at"], name="chat_look_of_person"),
        ]

    def __str__(self) -> str:
        return f"{self.person_id} looked at {self.request_id}"


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
        return str(self.pk)


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
        return str(self.pk)


class Ledger(models.Model):
    """Number of changes so far of a member's conversations and runs (chat/changes.py)."""

    owner = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, primary_key=True, related_name="+")
    last_change = models.PositiveBigIntegerField(default=0)
    # the number of the last change of what waits for the member's groups
    waiting_change = models.PositiveBigIntegerField(default=0, db_default=0)
    # the same for what moderators decided about the member, and for the answers to reports and appeals
    decision_change = models.PositiveBigIntegerField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.owner_id}: {self.last_change}"


class ProcessQuerySet(models.QuerySet["Process"]):
    def living(self) -> "ProcessQuerySet":
        """Return the processes that claim runs: alive by the database's clock, and not draining."""
        since = Now() - timedelta(seconds=settings.DEAD_AFTER_SECONDS)
        return self.filter(heartbeat_at__gte=since, draining=False)


class Process(models.Model):
    """Server process that executes runs; alive while its heartbeat is fresh by the database's clock."""

    class AgentsState(models.TextChoices):
        LOADING = "loading", _("Loading")
        LOADED = "loaded", _("Loaded")
        FAILED = "failed", _("Failed")

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
    # AGENTS_DIR in this process. Defaults of the database: servers of the version before insert none
    agents_generation = models.PositiveBigIntegerField(db_default=0)  # see Reload
    agents_state = models.CharField(max_length=16, choices=AgentsState, blank=True, db_default="")
    agents_since = models.DateTimeField(null=True, blank=True)
    agents_error = models.TextField(blank=True, db_default="")  # why the folder could not be read
    agents = models.JSONField(null=True, blank=True)  # the condition of each, by name

    objects = ProcessQuerySet.as_manager()

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


class Reload(models.Model):
    """Request to load AGENTS_DIR again in every process. The highest id is the current generation."""

    requested_at = models.DateTimeField(db_default=Now())
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )

    class Meta:
        default_permissions = ()  # only the site's owner reloads

    def __str__(self) -> str:
        return f"generation {self.pk}"


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


class Purge(models.Model):
    """Counts of one day's purge (chat/purge.py). One process at a time adds to them."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    day = models.DateField(unique=True)
    last_at = models.DateTimeField()
    conversations = models.PositiveIntegerField(default=0)
    messages = models.PositiveIntegerField(default=0)

    class Meta:
        default_permissions = ("view",)  # only the purge writes it

    def __str__(self) -> str:
        return str(self.day)


class AccountDeletion(models.Model):
    """Wish of a member to delete their account, which is erased at ``due_at`` (chat/erasure.py)."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, primary_key=True, related_name="+")
    requested_at = models.DateTimeField()
    due_at = models.DateTimeField()
    # of the erasure's last step. Null until it begins: then nothing cancels it
    worked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        default_permissions = ()  # only the member asks and cancels

    def __str__(self) -> str:
        return f"{self.user_id}: {self.due_at}"


class DataDownload(models.Model):
    """Time at which a member last began to download their data."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, primary_key=True, related_name="+")
    begun_at = models.DateTimeField()

    class Meta:
        default_permissions = ()  # only the member downloads

    def __str__(self) -> str:
        return f"{self.user_id}: {self.begun_at}"


class Suggestion(models.Model):
    """Question that the empty page suggests. Without any, Parley's own ones are shown."""

    text = models.CharField(_("text"), max_length=200)
    position = models.PositiveSmallIntegerField(_("position"), default=1)

    class Meta:
        verbose_name, verbose_name_plural = _("suggestion"), _("suggestions")
        ordering = ("position", "id")

    def __str__(self) -> str:
        return self.text
