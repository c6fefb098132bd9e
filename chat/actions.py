"""What a member does. Each is one transaction; nothing here waits for a model or a network."""

import hashlib
import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from chat import changes, events, lifecycle, refusals
from chat.access import access_conversation, access_message, access_prompt
from chat.models import Conversation, Message, Run, RunEvent
from chat.text import message_text

TITLE_LENGTH = 60


class _Absent:
    """``parent`` was not named: the end of the active branch."""


ABSENT = _Absent()


@dataclass(frozen=True, slots=True)
class Ask:
    """A checked request for an answer: a new question (``query``) or an old one again (``prompt``)."""

    query: str | None = None
    prompt: uuid.UUID | None = None
    conversation: uuid.UUID | None = None
    parent: uuid.UUID | _Absent | None = ABSENT
    agent: str | None = None
    client_id: uuid.UUID | None = None
    mode: str = Run.Mode.SSE

    def digest(self) -> str:
        """What the idempotency key stands for: the body without ``stream``."""
        parent = "absent" if isinstance(self.parent, _Absent) else str(self.parent)
        body = [self.query, str(self.prompt), str(self.conversation), parent, self.agent]
        return hashlib.sha256(json.dumps(body).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Asked:
    """The run that answers; ``is_new`` where this request made it."""

    run: Run
    is_new: bool


def send_message(
    owner: Any, ask: Ask, *, agents: Sequence[str], admit: Callable[[], None] = lambda: None
) -> Asked:
    """Store the question and the run that will answer it, or find the run of the same key.

    ``agents`` are those a new conversation may have, the default first. ``admit`` raises where the
    process can take no more. Raises the 404, 422, 423, 409 and 429 refusals, in this order, and
    ``admit``'s last.
    """
    try:
        with transaction.atomic():
            return _known(owner, ask) or _ask(owner, ask, agents, admit)
    except IntegrityError:
        # Somebody was faster: with the same key, or on the same conversation.
        known = _known(owner, ask)
        if known:
            return known
        if ask.conversation or ask.prompt:
            _refuse_if_busy(_conversation_of(owner, ask))
        raise


def _known(owner: Any, ask: Ask) -> Asked | None:
    if ask.client_id is None:
        return None
    run = Run.objects.filter(owner=owner, client_id=ask.client_id).select_related("conversation").first()
    if run is None:
        return None
    if run.request_digest != ask.digest():
        raise refusals.unprocessable("key_reused", "This key was used with another request.")
    if run.conversation.deleted_at:
        raise refusals.not_found()
    return Asked(run, is_new=False)


def _ask(owner: Any, ask: Ask, agents: Sequence[str], admit: Callable[[], None]) -> Asked:
    conversation = _conversation_of(owner, ask, lock=True)
    prompt = _old_prompt(owner, ask)
    parent = _parent(conversation, ask)
    if conversation is not None and (known := _known(owner, ask)):
        return known  # the same key was stored while this request waited for the lock
    agent = _agent(ask, agents)
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
            agent=agent,
            title=title_of(ask.query or ""),
            created_at=now,
            updated_at=now,
            last_change=change,
        )
    if prompt is None:
        prompt = _write_prompt(conversation, parent, ask.query or "", now)
    run = _queue_run(conversation, prompt, ask, now, change)
    Conversation.objects.filter(pk=conversation.pk).update(head=prompt, updated_at=now)
    return Asked(run, is_new=True)


def _conversation_of(owner: Any, ask: Ask, *, lock: bool = False) -> Any:
    """The conversation of an ask, None for a new one."""
    named = ask.conversation
    if ask.prompt:
        of_prompt = access_prompt(owner, ask.prompt).conversation_id
        if named not in (None, of_prompt):
            raise refusals.not_found()
        named = of_prompt
    return access_conversation(owner, named, lock=lock) if named else None


def _old_prompt(owner: Any, ask: Ask) -> Message | None:
    if ask.prompt is None:
        return None
    prompt = access_prompt(owner, ask.prompt)
    if prompt.role != Message.Role.USER:
        raise refusals.unprocessable("not_a_prompt", "Only a question can be answered again.")
    return prompt


def _parent(conversation: Conversation | None, ask: Ask) -> uuid.UUID | None:
    if isinstance(ask.parent, _Absent):
        return conversation.head_id if conversation else None
    if ask.parent is None:
        return None
    if conversation is None:
        raise refusals.not_found()  # no message is in a conversation that does not exist yet
    return access_message(conversation, ask.parent).pk


def _agent(ask: Ask, agents: Sequence[str]) -> str:
    if ask.agent is not None and ask.agent not in agents:
        raise refusals.unprocessable("unknown_agent", "There is no agent of this name.")
    return ask.agent or agents[0]


def _refuse_if_busy(conversation: Conversation | None) -> None:
    run = conversation and conversation.runs.active().first()
    if run:
        raise refusals.busy(str(run.pk))


def _refuse_if_too_many(owner: Any) -> None:
    if settings.LIMITS and Run.objects.active().filter(owner=owner).count() >= settings.RUNS_PER_MEMBER:
        raise refusals.too_many(f"At most {settings.RUNS_PER_MEMBER} answers can be written at once.")


def _write_prompt(conversation: Conversation, parent: uuid.UUID | None, text: str, now: Any) -> Message:
    return Message.objects.create(
        conversation=conversation,
        parent_id=parent,
        role=Message.Role.USER,
        text=text,
        parts={"v": 1, "items": [{"type": "text", "text": text}]},
        created_at=now,
    )


def _queue_run(conversation: Conversation, prompt: Message, ask: Ask, now: Any, change: int) -> Run:
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
    RunEvent.objects.create(run=run, seq=1, type=started.type, data=events.encode(started.data))
    return run


def title_of(text: str) -> str:
    """The offline title: the first words of the question, on one line."""
    line = " ".join(text.split())
    if len(line) <= TITLE_LENGTH:
        return line
    cut = line[: TITLE_LENGTH - 1]
    if " " in cut[TITLE_LENGTH // 2 :]:
        cut = cut[: cut.rindex(" ")]
    return cut + "…"


def request_stop(run: Run) -> Run:
    """Record the wish to stop. A queued run has ended when this returns; a running one is stopped
    by the process that executes it. Returns the run as it then stands.
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
    """Make the branch through ``message`` the active one: down to its newest leaf."""
    leaf = Message.objects.leaf_below(message.pk)
    Conversation.objects.filter(pk=conversation.pk).update(head=leaf)
    changes.announce_conversation(conversation)


@transaction.atomic
def delete_conversation(conversation: Conversation) -> list[uuid.UUID]:
    """The conversation is gone for its owner. A queued run has ended when this returns.

    Returns the runs that still execute: their process ends them as stopped, code ``deleted``.
    """
    Conversation.objects.filter(pk=conversation.pk, deleted_at=None).update(deleted_at=timezone.now())
    running = []
    for run in conversation.runs.active():
        Run.objects.filter(pk=run.pk, stop_requested_at=None).update(stop_requested_at=timezone.now())
        if not lifecycle.stop_queued(run.pk, code="deleted"):
            running.append(run.pk)
    changes.announce_conversation(conversation)
    return running
