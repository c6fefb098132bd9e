"""Actions of a member: short transactions, which wait for no model and no network."""

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import User
from chat import changes, events, lifecycle, refusals
from chat.access import lock_conversation
from chat.models import Conversation, Message, Run, RunEvent
from chat.refusals import Refusal
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
class _Target:
    """Objects that an ask names: None for a conversation or a question that it creates."""

    conversation: Conversation | None = None
    prompt: Message | None = None
    parent: uuid.UUID | None = None  # of the new question; None for the first one


def send_message(owner: User, ask: Ask, *, agents: Sequence[str], refusal: Refusal | None = None) -> Run:
    """Store the question, and return the run that will answer it: the old one if its key is known.

    ``agents`` are the choices for a new conversation, the default first. ``refusal`` is the reason why this
    process takes no new run. Raises 422 for a key that was used with another body, then
    404, 422, 423, 409 and 429 refusals, then ``refusal``.
    """
    try:
        return _find_or_store(owner, ask, agents, refusal)
    except IntegrityError:
        # Lost a race against a request with the same key, or in the same conversation. That one has
        # committed, so the second try finds its run, or is refused.
        return _find_or_store(owner, ask, agents, refusal)


@transaction.atomic
def _find_or_store(owner: User, ask: Ask, agents: Sequence[str], refusal: Refusal | None) -> Run:
    target = _lock_target(owner, ask)
    # With the lock: a request with the same key may have been stored while this one waited for it.
    if ask.client_id and (run := _run_with_key(owner, ask)):
        return run
    if target is None:
        raise refusals.not_found()
    _refuse(owner, target, ask, agents)
    if refusal:
        raise refusal
    return _store(owner, target, ask, agents)


def _lock_target(owner: User, ask: Ask) -> _Target | None:
    """Return the objects that an ask names, its conversation locked; None if one is not the owner's."""
    named_parent = None if isinstance(ask.parent, _Absent) else ask.parent
    if ask.conversation is None and ask.prompt is None:
        return None if named_parent else _Target()  # a new conversation has no messages yet
    found = lock_conversation(owner, ask.conversation, message=ask.prompt or named_parent)
    if found is None:
        return None
    conversation, message = found
    if ask.prompt:
        return _Target(conversation, prompt=message)
    return _Target(conversation, parent=conversation.head_id if ask.parent is ABSENT else named_parent)


def _run_with_key(owner: User, ask: Ask) -> Run | None:
    run = Run.objects.filter(owner=owner, client_id=ask.client_id).select_related("conversation").first()
    if run is None:
        return None
    if run.request_digest != ask.digest():
        raise refusals.unprocessable("key_reused", _("This key was used with another request."))
    if run.conversation.deleted_at:
        raise refusals.not_found()
    return run


def _refuse(owner: User, target: _Target, ask: Ask, agents: Sequence[str]) -> None:
    """Raise the 422, 423, 409 and 429 refusals of a new run, in this order."""
    if target.prompt and target.prompt.role != Message.Role.USER:
        raise refusals.unprocessable("not_a_prompt", _("Only a question can be answered again."))
    if ask.agent is not None and ask.agent not in agents:
        raise refusals.unprocessable("unknown_agent", _("There is no agent of this name."))
    if target.prompt is None:
        message_text(ask.query or "")
    if target.conversation:
        if target.conversation.locked_at:
            raise refusals.locked()
        if run := target.conversation.runs.active().first():
            raise refusals.busy(str(run.pk))
    limit = settings.RUNS_PER_MEMBER
    if settings.LIMITS and Run.objects.active().filter(owner=owner).count() >= limit:
        raise refusals.too_many(
            _("At most %(limit)s answers can be written at the same time.") % {"limit": limit}
        )


def _store(owner: User, target: _Target, ask: Ask, agents: Sequence[str]) -> Run:
    """Store what the ask creates: conversation, question, and a queued run with its first event."""
    now, question = timezone.now(), ask.query or ""
    digest = ask.digest() if ask.client_id else ""
    change = changes.announce(owner.pk)
    conversation = target.conversation or Conversation.objects.create(
        owner=owner,
        agent=ask.agent or agents[0],
        title=title_of(question),
        created_at=now,
        updated_at=now,
        last_change=change,
    )
    prompt = target.prompt or Message.objects.create(
        conversation=conversation,
        parent_id=target.parent,
        role=Message.Role.USER,
        text=question,
        parts={"v": 1, "items": [{"type": "text", "text": question}]},
        created_at=now,
    )
    # No ``last_change``: the notice of the run tells other tabs.
    Conversation.objects.filter(pk=conversation.pk).update(head=prompt, updated_at=now)
    run = Run.objects.create(
        conversation=conversation,
        owner=owner,
        client_id=ask.client_id,
        request_digest=digest,
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
