"""Actions of a member: short transactions, which wait for no model and no network."""

import hashlib
import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import User
from chat import changes, events, lifecycle, refusals
from chat.access import access_conversation, access_message, access_prompt
from chat.models import Conversation, Message, Run, RunEvent
from chat.text import message_text

TITLE_LENGTH = 60


class _Absent:
    """Type of ABSENT: no ``parent`` was given, so the question follows the end of the active branch."""


ABSENT = _Absent()


@dataclass(frozen=True, slots=True)
class Ask:
    """Checked request for a reply to a new question (``query``) or to an existing one (``prompt``)."""

    query: str | None = None
    prompt: uuid.UUID | None = None
    conversation: uuid.UUID | None = None
    parent: uuid.UUID | _Absent | None = ABSENT
    agent: str | None = None
    client_id: uuid.UUID | None = None
    mode: str = Run.Mode.SSE

    def digest(self) -> str:
        """Return a hash of the body without ``stream``. Requests with one key must have the same hash."""
        parent = "absent" if isinstance(self.parent, _Absent) else str(self.parent)
        body = [self.query, str(self.prompt), str(self.conversation), parent, self.agent]
        return hashlib.sha256(json.dumps(body).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Asked:
    """Run that answers an ask; ``is_new`` if this request created it."""

    run: Run
    is_new: bool


def send_message(
    owner: User, ask: Ask, *, agents: Sequence[str], admit: Callable[[], None] = lambda: None
) -> Asked:
    """Store the question and a run that will answer it, or find the run with the same idempotency key.

    ``agents`` are the choices for a new conversation, the default first. ``admit`` raises if the process
    cannot take more. Raises 422 for a key that was used with another body, then
    404, 422, 423, 409 and 429 refusals, then those of ``admit``.
    """
    try:
        with transaction.atomic():
            return _known(owner, ask) or _ask(owner, ask, agents, admit)
    except IntegrityError:
        # Lost a race against a request with the same key, or in the same conversation.
        known = _known(owner, ask)
        if known:
            return known
        conversation, _prompt = _target(owner, ask)
        if conversation is not None:
            _refuse_if_busy(conversation)
        raise


def _known(owner: User, ask: Ask) -> Asked | None:
    if ask.client_id is None:
        return None
    run = Run.objects.filter(owner=owner, client_id=ask.client_id).select_related("conversation").first()
    if run is None:
        return None
    if run.request_digest != ask.digest():
        raise refusals.unprocessable("key_reused", _("This key was used with another request."))
    if run.conversation.deleted_at:
        raise refusals.not_found()
    return Asked(run, is_new=False)


def _ask(owner: User, ask: Ask, agents: Sequence[str], admit: Callable[[], None]) -> Asked:
    conversation, prompt = _target(owner, ask, lock=True)
    parent = _parent(conversation, ask)
    if conversation is not None and (known := _known(owner, ask)):
        return known  # a request with the same key was stored while this one waited for the lock
    if ask.agent is not None and ask.agent not in agents:
        raise refusals.unprocessable("unknown_agent", _("There is no agent of this name."))
    if prompt is None:
        message_text(ask.query or "")
    if conversation is not None:
        if conversation.locked_at:
            raise refusals.locked()
        _refuse_if_busy(conversation)
    _refuse_if_too_many(owner)
    admit()
    now = timezone.now()
    change = changes.announce(owner.pk)
    if conversation is None:
        conversation = Conversation.objects.create(
            owner=owner,
            agent=ask.agent or agents[0],
            title=title_of(ask.query or ""),
            created_at=now,
            updated_at=now,
            last_change=change,
        )
    if prompt is None:
        prompt = _write_prompt(conversation, parent, ask.query or "", now)
    run = _queue_run(conversation, prompt, ask, now, change)
    # No ``last_change``: the notice of the run tells other tabs.
    Conversation.objects.filter(pk=conversation.pk).update(head=prompt, updated_at=now)
    return Asked(run, is_new=True)


def _target(owner: User, ask: Ask, *, lock: bool = False) -> tuple[Conversation | None, Message | None]:
    """Return the conversation and the old question that an ask names; None for each that it creates."""
    prompt = access_prompt(owner, ask.prompt) if ask.prompt else None
    named = prompt.conversation_id if prompt else ask.conversation
    if ask.conversation not in (None, named):
        raise refusals.not_found()
    conversation = access_conversation(owner, named, lock=lock) if named else None
    if prompt and prompt.role != Message.Role.USER:
        raise refusals.unprocessable("not_a_prompt", _("Only a question can be answered again."))
    return conversation, prompt


def _parent(conversation: Conversation | None, ask: Ask) -> uuid.UUID | None:
    if isinstance(ask.parent, _Absent):
        return conversation.head_id if conversation else None
    if ask.parent is None:
        return None
    if conversation is None:
        raise refusals.not_found()  # a new conversation has no messages yet
    return access_message(conversation, ask.parent).pk


def _refuse_if_busy(conversation: Conversation) -> None:
    if run := conversation.runs.active().first():
        raise refusals.busy(str(run.pk))


def _refuse_if_too_many(owner: User) -> None:
    limit = settings.RUNS_PER_MEMBER
    if settings.LIMITS and Run.objects.active().filter(owner=owner).count() >= limit:
        raise refusals.too_many(
            _("At most %(limit)s answers can be written at the same time.") % {"limit": limit}
        )


def _write_prompt(conversation: Conversation, parent: uuid.UUID | None, text: str, now: datetime) -> Message:
    return Message.objects.create(
        conversation=conversation,
        parent_id=parent,
        role=Message.Role.USER,
        text=text,
        parts={"v": 1, "items": [{"type": "text", "text": text}]},
        created_at=now,
    )


def _queue_run(conversation: Conversation, prompt: Message, ask: Ask, now: datetime, change: int) -> Run:
    run = Run.objects.create(
        conversation=conversation,
        owner_id=conversation.owner_id,
        client_id=ask.client_id,
        request_digest=ask.digest() if ask.client_id else "",
        prompt=prompt,
        mode=ask.mode,
        created_at=now,
        last_change=change,
    )
    started = events.started(
        run=str(run.pk),
        conversation=str(conversation.pk),
        prompt=str(prompt.pk),
        agent=conversation.agent,
        title=conversation.title,
    )
    RunEvent.objects.create(run=run, seq=1, type=started.type, data=events.encode_json(started.data))
    return run


def title_of(text: str) -> str:
    """Return a title without a model: the first words of the question, on one line."""
    line = " ".join(text.split())
    if len(line) <= TITLE_LENGTH:
        return line
    cut = line[: TITLE_LENGTH - 1]
    if " " in cut[TITLE_LENGTH // 2 :]:
        cut = cut[: cut.rindex(" ")]
    return cut + "…"


def request_stop(run: Run) -> Run:
    """Store a stop request, and return the run as it is then.

    A queued run ends here. A running one is stopped by the process that executes it.
    """
    Run.objects.active().filter(pk=run.pk, stop_requested_at=None).update(stop_requested_at=timezone.now())
    lifecycle.stop_queued(run.pk)
    run.refresh_from_db()
    return run


@transaction.atomic
def rename(conversation: Conversation, title: str) -> None:
    Conversation.objects.filter(pk=conversation.pk).update(title=title, title_is_manual=True)
    changes.announce_conversation(conversation)


@transaction.atomic
def pin(conversation: Conversation, pinned: bool) -> None:
    Conversation.objects.filter(pk=conversation.pk).update(pinned_at=timezone.now() if pinned else None)
    changes.announce_conversation(conversation)


@transaction.atomic
def choose_branch(conversation: Conversation, message: Message) -> None:
    """Make the newest branch through ``message`` the active one."""
    leaf = Message.objects.leaf_below(message.pk)
    Conversation.objects.filter(pk=conversation.pk).update(head=leaf)
    changes.announce_conversation(conversation)


@transaction.atomic
def mark_deleted(conversation: Conversation) -> list[uuid.UUID]:
    """Hide the conversation from everyone, end its queued run, and return its running runs.

    The processes that execute those end them as stopped, with the code ``deleted``.
    """
    Conversation.objects.filter(pk=conversation.pk, deleted_at=None).update(deleted_at=timezone.now())
    running = []
    for run in conversation.runs.active():
        Run.objects.filter(pk=run.pk, stop_requested_at=None).update(stop_requested_at=timezone.now())
        if not lifecycle.stop_queued(run.pk, code="deleted"):
            running.append(run.pk)
    changes.announce_conversation(conversation)
    return running
