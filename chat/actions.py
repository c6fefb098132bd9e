"""Actions of a member: short transactions, which wait for no model and no network."""

import hashlib
import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import User
from accounts.statements import Statement, insert
from chat import approvers, changes, hooks, lifecycle, queue, refusals, waiting
from chat.access import lock_conversation, parse_id, restorable
from chat.begin import Reservation, begin_run, store_question
from chat.calls import keeping
from chat.calls.models import LiveCall
from chat.files.attaching import check_files, keep_for_queue, release_files
from chat.models import Conversation, Message, PersonRequest, QueuedAsk, Run
from chat.moderated import lock_of
from chat.refusals import Refusal
from chat.text import is_visible, message_text, title_of
from chat.waiting import Answer

TITLE_MAX = 200  # of a member's own title, as the column


class _Absent:
    """Type of ABSENT: no ``parent`` was given, so the question follows the end of the active branch."""


ABSENT = _Absent()


class IfBusy(StrEnum):
    """Choice for a question whose conversation cannot take it now."""

    REFUSE = "refuse"
    QUEUE = "queue"
    INTERRUPT = "interrupt"


@dataclass(frozen=True, slots=True)
class Ask:
    """Checked request for a reply: to a new question, an existing one, or answers to open requests."""

    query: str | None = None
    prompt: uuid.UUID | None = None
    files: tuple[uuid.UUID, ...] = ()  # own uploads; only with ``query``, which may be empty then
    answers: tuple[Answer, ...] = ()
    conversation: uuid.UUID | None = None
    parent: uuid.UUID | _Absent | None = ABSENT
    agent: str | None = None
    client_id: uuid.UUID | None = None
    mode: str = Run.Mode.SSE
    if_busy: IfBusy = IfBusy.REFUSE  # another one only with ``query`` and without ``parent``

    def digest(self) -> str:
        """Return a hash of the body without ``stream``. Requests with one key must have the same hash."""
        parent = "absent" if isinstance(self.parent, _Absent) else str(self.parent)
        body: list[Any] = [self.query, str(self.prompt), str(self.conversation), parent, self.agent]
        if self.answers:
            body.append([[str(each.request), each.decision, each.payload] for each in self.answers])
        if self.if_busy != IfBusy.REFUSE:
            body.append(self.if_busy)
        if self.files:
            body.append(["files", *map(str, self.files)])
        return hashlib.sha256(json.dumps(body).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Target:
    """Objects that an ask names: None for a conversation or a question that it creates."""

    conversation: Conversation | None = None
    prompt: Message | None = None
    parent: uuid.UUID | None = None  # of the new question; None for the first one
    requests: tuple[PersonRequest, ...] = ()  # all decided, and none goes on in a run yet


@dataclass(frozen=True, slots=True)
class Held:
    """Stored decisions whose run starts with the decisions of others, on the ``waiting`` requests."""

    conversation: uuid.UUID
    waiting: list[uuid.UUID]


Stored = Run | Held | QueuedAsk


def send_message(owner: User, ask: Ask, *, agents: Sequence[str], refusal: Refusal | None = None) -> Run:
    """Store an ask as ``send_or_queue``. Precondition: no answers, and it is refused if busy."""
    run = send_or_queue(owner, ask, agents=agents, refusal=refusal)
    assert isinstance(run, Run)
    return run


def send_or_queue(
    owner: User,
    ask: Ask,
    *,
    agents: Sequence[str],
    refusal: Refusal | None = None,
    reservation: Reservation | None = None,
) -> Stored:
    """Store the ask, and return the run that will answer it: the old one if its key is known.

    Returns the queued ask if a question has to wait. ``agents`` are the choices for a new conversation, the
    default first. ``refusal`` is the reason why this process takes no new run. A run that begins has the id
    of the ``reservation``, and its process executes it; without one, or after a lost race, it is queued.
    Raises 422 for a key that was used with another body, then 404, 422, 423, 409 and 429 refusals, then
    ``refusal``.
    """
    try:
        return _find_or_store(owner, ask, agents, refusal, reservation)
    except IntegrityError:
        # Lost a race against a request with the same key, or in the same conversation. That one has
        # committed, so the second try finds its run, or is refused. Or the process's row is gone.
        return _find_or_store(owner, ask, agents, refusal, None)


@transaction.atomic
def _find_or_store(
    owner: User,
    ask: Ask,
    agents: Sequence[str],
    refusal: Refusal | None,
    reservation: Reservation | None,
) -> Stored:
    target = _lock_target(owner, ask)
    # With the lock: a request with the same key may have been stored while this one waited for it.
    if ask.client_id and (found := _with_key(owner, ask)):
        return found
    _refuse_suspended(owner)
    if target is None:
        raise refusals.not_found()
    if ask.client_id and ask.answers and (held := _held_before(owner, target, ask)):
        return held
    if ask.if_busy != IfBusy.REFUSE and target.conversation:
        interrupts = ask.if_busy == IfBusy.INTERRUPT
        if queue.must_queue(target.conversation, interrupts=interrupts):
            return _queue(target.conversation, ask, refusal if interrupts else None)
    _refuse(owner, target, ask, agents)
    requests = (
        waiting.requests_to_answer(target.conversation, ask.answers)
        if ask.answers and target.conversation
        else []
    )
    if refusal:
        raise refusal
    if target.conversation and requests:
        return _decide(owner, target.conversation, requests, ask, reservation)
    return _store(owner, target, ask, agents, reservation)


@transaction.atomic
def decide_as_approver(approver: User, answer: Answer, *, refusal: Refusal | None = None) -> Run | None:
    """Store an approver's decision. Return the run that goes on, if no other request waits beside this one.

    Raises the refusals of ``approvers.lock_request``, 422 for a decision that does not fit, 409 if the run
    cannot start because the conversation is answering elsewhere, and ``refusal``.
    """
    _refuse_suspended(approver)
    request = approvers.lock_request(approver, answer.request)
    waiting.apply_answer(request, answer)
    if refusal:
        raise refusal
    conversation = request.run.conversation
    _refuse_in_call(conversation)
    # Not within the limit of the asker's active runs: nobody would start the run later.
    ask = Ask(conversation=conversation.pk, answers=(answer,))
    run = _decide(approver, conversation, [request], ask, None)
    return run if isinstance(run, Run) else None


def _decide(
    person: User,
    conversation: Conversation,
    requests: Sequence[PersonRequest],
    ask: Ask,
    reservation: Reservation | None,
) -> Run | Held:
    """Store decisions of ``person``, and the run that goes on if no request beside them is undecided."""
    now = timezone.now()
    for request in requests:
        request.decided_by, request.decided_at = person, now
        request.save(update_fields=["decision", "answer", "decided_by", "decided_at"])
    together, undecided = waiting.decided_together(requests)
    if undecided:
        groups = {request.approvers for request in requests}
        changes.announce_decisions(conversation, approvers.concerned(conversation, groups))
        return Held(conversation.pk, undecided)
    if run := conversation.runs.active().first():
        raise refusals.busy(str(run.pk))
    parent = conversation.head_id if together[0].is_job else together[0].run.reply_id
    target = _Target(conversation, parent=parent, requests=tuple(together))
    return _store(conversation.owner, target, ask, (), reservation)


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


def _with_key(owner: User, ask: Ask) -> Run | QueuedAsk | None:
    found: Run | QueuedAsk | None = None
    for asks in (_runs_with_key, _queued_with_key):
        found = found or asks.first(owner.pk, ask.client_id)
    if found is None:
        return None
    if found.request_digest != ask.digest():
        raise refusals.unprocessable("key_reused", _("This key was used with another request."))
    if found.conversation.deleted_at:
        raise refusals.not_found()
    return found


_runs_with_key = Statement(
    lambda owner, key: Run.objects.filter(owner=owner, client_id=key).select_related("conversation")
)
_queued_with_key = Statement(
    lambda owner, key: QueuedAsk.objects.filter(owner=owner, client_id=key).select_related("conversation")
)


def _held_before(owner: User, target: _Target, ask: Ask) -> Held | None:
    """Return what the same answers got before, while they wait for the decisions of others.

    No run has their key, so a client that lost the first response is known by what it decided.
    """
    named = PersonRequest.objects.filter(
        pk__in=[answer.request for answer in ask.answers],
        run__conversation=target.conversation,
        decided_by=owner,
        answered_by=None,
    )
    requests = {request.pk: request for request in named.select_related("run")}
    if len(requests) != len(ask.answers):
        return None
    for answer in ask.answers:
        request = requests[answer.request]
        stored = request.decision, request.answer
        waiting.apply_answer(request, answer)
        if stored != (request.decision, request.answer):
            return None
    undecided = waiting.decided_together(list(requests.values()))[1]
    return Held(requests[ask.answers[0].request].run.conversation_id, undecided) if undecided else None


def _queue(conversation: Conversation, ask: Ask, refusal: Refusal | None) -> Run | QueuedAsk:
    """Queue a question, and request the stop of the active run if the question interrupts it.

    Returns the run that answers it if it was asked in this transaction. Raises 422, 423 and 409 refusals,
    then ``refusal``.
    """
    _question_text(ask)
    if conversation.locked_at:
        raise refusals.locked(lock_of(conversation))
    _refuse_in_call(conversation)
    queue.refuse_by_rules(conversation.owner, conversation, ask.query or "")
    files = check_files(conversation.owner, ask.files)
    if refusal:
        raise refusal
    queued = QueuedAsk(
        client_id=ask.client_id,
        request_digest=ask.digest() if ask.client_id else "",
        text=ask.query or "",
        files=[str(pk) for pk in keep_for_queue(conversation, files)] or None,
        mode=ask.mode,
        interrupts=ask.if_busy == IfBusy.INTERRUPT,
    )
    active = conversation.runs.active().first()
    if active and queued.interrupts:
        _store_stop_request(active.pk)  # locks the run, which comes before the ledger
    queue.add(conversation, queued)
    if active and queued.interrupts:
        lifecycle.stop_queued(active.pk)
    elif active is None:
        queue.ask_next(conversation, None)
    return Run.objects.filter(pk=queued.pk).select_related("conversation").first() or queued


def _refuse_suspended(member: User) -> None:
    if (until := member.suspended_until) and member.is_suspended():
        raise refusals.suspended(until, member.suspended_reason, member.suspended_decision)


def _refuse(owner: User, target: _Target, ask: Ask, agents: Sequence[str]) -> None:
    """Raise the 422, 423, 409 and 429 refusals of a new run, in this order."""
    if target.prompt and target.prompt.role != Message.Role.USER:
        raise refusals.unprocessable("not_a_prompt", _("Only a question can be answered again."))
    if ask.agent is not None and ask.agent not in agents:
        raise refusals.unprocessable("unknown_agent", _("There is no agent of this name."))
    if target.prompt is None and not ask.answers:
        _question_text(ask)
    if target.prompt and target.prompt.hidden_at:
        raise refusals.hidden()
    if target.prompt and (answered := target.prompt.answers.filter(answered__isnull=False).first()):
        raise refusals.answered(str(answered.pk))
    if target.conversation:
        # Before ``busy``: the run of the decision may be active, and a second try would be refused again.
        if ask.answers:
            waiting.refuse_decided(target.conversation, ask.answers)
        _refuse_in_call(target.conversation)
        _refuse_now(target.conversation)
    queue.refuse_by_rules(owner, target.conversation, ask.query or "")
    _refuse_over_limit(owner)


def _question_text(ask: Ask) -> str:
    """Return the text of the question. Raises the 422 refusal; a question with files may have no text."""
    return "" if ask.files and not ask.query else message_text(ask.query or "")


def _refuse_in_call(conversation: Conversation) -> None:
    """Raise the 409 refusal while a call is connected in the conversation; end a call that is lost."""
    if _calls.all(conversation.pk):  # nearly never
        keeping.refuse_in_call(conversation)


_calls = Statement(
    lambda conversation: LiveCall.objects.filter(conversation=conversation, ended_at=None).values_list("pk")
)


def _refuse_now(conversation: Conversation) -> None:
    if conversation.locked_at:
        raise refusals.locked(lock_of(conversation))
    if active := _active.first(conversation.pk):
        raise refusals.busy(str(active[0]))


_active = Statement(lambda pk: Run.objects.active().filter(conversation=pk).values_list("pk"))


def _refuse_over_limit(owner: User) -> None:
    if queue.is_over_limit(owner.pk):
        limit = {"limit": settings.RUNS_PER_MEMBER}
        raise refusals.too_many(_("At most %(limit)s answers can be written at the same time.") % limit)


def _store(
    owner: User, target: _Target, ask: Ask, agents: Sequence[str], reservation: Reservation | None
) -> Run:
    """Store what the ask creates: conversation, question, and a run with its first event."""
    now = timezone.now()
    question = ask.query or ""
    if target.requests:
        said = [waiting.prompt_sentence(request, owner.username) for request in target.requests]
        question = "\n".join(said)
    items = [waiting.part(request, owner.username) for request in target.requests]
    files = check_files(owner, ask.files) if ask.files else []
    digest = ask.digest() if ask.client_id else ""
    groups = {request.approvers for request in target.requests}
    # Without a number of its requests, the conversation never had one.
    had_requests = target.conversation and target.conversation.waiting_change
    concerned = (
        approvers.concerned(target.conversation, groups) if target.conversation and had_requests else ()
    )
    change = changes.announce(owner.pk, concerned)
    # The ledger's lock is held now: a queued ask with this key is visible, or comes later and finds this run.
    if ask.client_id and _queued_with_key.all(owner.pk, ask.client_id):
        raise IntegrityError("The key was used at the same time.")
    conversation = target.conversation
    if conversation is None:
        conversation = Conversation(
            owner=owner,
            agent=ask.agent or agents[0],
            title=title_of(question or files[0].name),
            created_at=now,
            updated_at=now,
            last_change=change,
        )
        insert(conversation)
    elif conversation.head_id is None and not conversation.title_is_manual:
        conversation.title = title_of(question or files[0].name)
        Conversation.objects.filter(pk=conversation.pk).update(title=conversation.title, last_change=change)
    prompt = target.prompt or store_question(conversation, target.parent, question, items, now, files)
    run = begin_run(
        conversation,
        prompt,
        now,
        change,
        client_id=ask.client_id,
        request_digest=digest,
        mode=ask.mode,
        **(reservation.fields if reservation else {}),
    )
    if target.requests:
        Conversation.objects.filter(pk=conversation.pk).update(waiting_change=change)
    for request in target.requests:
        request.answered_by = run
        request.save(update_fields=["answered_by"])
    return run


@transaction.atomic
def begin_turn(owner: User, conversation: uuid.UUID, text: str, reservation: Reservation) -> Run:
    """Store the prompt of a turn of a call, and its run, which the process of the ``reservation`` executes.

    ``text`` is empty as long as the spoken words are not known. Raises 404, 401, 403, 423, 409 and 429
    refusals.
    """
    owner = User.objects.get(pk=owner.pk)  # as it is now: a call lasts
    found = lock_conversation(owner, conversation, message=None)
    if not owner.is_active:
        raise refusals.not_signed_in()
    _refuse_suspended(owner)
    if found is None:
        raise refusals.not_found()
    held = found[0]
    _refuse_now(held)
    queue.refuse_by_rules(owner, held, text)
    _refuse_over_limit(owner)
    now = timezone.now()
    had_requests = held.waiting_change  # an open one lapses, as with a written question
    change = changes.announce(owner.pk, approvers.concerned(held) if had_requests else ())
    prompt = store_question(held, held.head_id, text, None, now)
    run = begin_run(held, prompt, now, change, mode=Run.Mode.LIVE, **reservation.fields)
    if text and prompt.parent_id is None and not held.title_is_manual:
        Conversation.objects.filter(pk=held.pk).update(title=title_of(text), last_change=change)
    return run


def request_stop(run: Run) -> Run:
    """Store a stop request, and return the run as it is then.

    A queued run ends here. A running one is stopped by the process that executes it.
    """
    _store_stop_request(run.pk)
    lifecycle.stop_queued(run.pk)
    run.refresh_from_db()
    return run


def _store_stop_request(run_id: uuid.UUID) -> None:
    Run.objects.active().filter(pk=run_id, stop_requested_at=None).update(stop_requested_at=timezone.now())


def withdraw(owner: User, queued: str) -> None:
    """Delete a queued ask of the user. Raises the 404 refusal, and 409 if it was asked already."""
    with _locked_queued(owner, queued) as ask:
        if isinstance(ask, Run):
            raise refusals.asked(str(ask.pk))
        queue.remove(ask)
        release_files(ask.conversation, ask.files or ())
        queue.announce_queue(ask.conversation)


def send_queued(owner: User, queued: str, process: uuid.UUID | None) -> Run:
    """Ask a queued ask of the user now, before the others; if it was asked already, return its run.

    ``process`` executes the run, if it may. Raises 404, 423, 409 and 429 refusals.
    """
    with _locked_queued(owner, queued) as ask:
        if isinstance(ask, Run):
            return ask
        _refuse_suspended(owner)
        conversation = ask.conversation
        _refuse_in_call(conversation)
        _refuse_now(conversation)
        if queue.has_open_request(conversation):
            raise refusals.undecided()
        queue.refuse_by_rules(owner, conversation, ask.text)
        _refuse_over_limit(owner)
        return queue.ask_now(conversation, ask, process)


@contextmanager
def _locked_queued(owner: User, queued: str) -> Iterator[QueuedAsk | Run]:
    """Open a transaction, lock a conversation, and yield its queued ask, or the run that the ask became."""
    pk = parse_id(queued)
    if pk is None:
        raise refusals.not_found()
    with transaction.atomic():
        for model in (QueuedAsk, Run):  # by now it may have been asked
            conversation = (
                model._default_manager.filter(pk=pk, owner=owner)
                .values_list("conversation", flat=True)
                .first()
            )
            if conversation and (found := lock_conversation(owner, conversation, message=None)):
                ask = model._default_manager.filter(pk=pk).first()
                if ask is not None:
                    ask.conversation = found[0]
                    yield ask
                    return
        raise refusals.not_found()


@transaction.atomic
def open_conversation(owner: User, agent: str | None, *, agents: Sequence[str]) -> Conversation:
    """Return a conversation without messages, to speak in: the owner's last one, or a new one.

    ``agents`` are the choices, the default first. Raises the refusals of an ask for a
    suspended member and for an unknown agent.
    """
    _refuse_suspended(owner)
    if agent is not None and agent not in agents:
        raise refusals.unprocessable("unknown_agent", _("There is no agent of this name."))
    chosen = agent or agents[0]
    # At most one an agent, however often a call fails to begin.
    empty = Conversation.objects.visible_to(owner).filter(agent=chosen, head=None, locked_at=None)
    if found := empty.order_by("-created_at").first():
        return found
    # Its first question becomes the title.
    conversation = Conversation(owner=owner, agent=chosen, title=_("New conversation"))
    insert(conversation)
    changes.announce_conversation(conversation)
    return conversation


def rename(conversation: Conversation, title: str) -> None:
    """Store a member's own title, on one line. Raises 422 refusals."""
    title = " ".join(title.split())
    if not is_visible(title):
        raise refusals.unprocessable("blank", _("A title needs at least one letter."))
    if len(title) > TITLE_MAX:
        raise refusals.unprocessable(
            "too_long", _("A title has at most %(limit)s characters.") % {"limit": TITLE_MAX}
        )
    _change(conversation, title=title, title_is_manual=True)


def pin(conversation: Conversation, pinned: bool) -> None:
    """Put the conversation at the top of the list, out of the archive, or back to its place."""
    _change(
        conversation,
        **({"pinned_at": timezone.now(), "archived_at": None} if pinned else {"pinned_at": None}),
    )


def archive(conversation: Conversation, archived: bool) -> None:
    """Move the conversation out of the list, pinned or not, or back into it."""
    _change(
        conversation,
        **({"archived_at": timezone.now(), "pinned_at": None} if archived else {"archived_at": None}),
    )


@transaction.atomic
def entitle(conversation: Conversation, title: str) -> None:
    """Store the title that a model wrote, unless the title has changed since ``conversation`` was read."""
    unchanged = Conversation.objects.filter(
        pk=conversation.pk, title=conversation.title, title_is_manual=False, deleted_at=None
    )
    if unchanged.update(title=title):
        changes.announce_conversation(conversation)


@transaction.atomic
def _change(conversation: Conversation, **fields: Any) -> None:
    Conversation.objects.filter(pk=conversation.pk).update(**fields)
    changes.announce_conversation(conversation)


@transaction.atomic
def choose_branch(conversation: Conversation, message: Message) -> None:
    """Make the newest branch through one of its messages the active one. Raises the 404 refusal.

    The reply of an active run is the newest one to its prompt, so the branch of that prompt ends there.
    """
    # Locked, as the end of a run does: else the head could stay at a prompt whose reply has just been stored.
    if lock_conversation(conversation.owner, conversation.pk, message=message.pk) is None:
        raise refusals.not_found()
    active = conversation.runs.active().values_list("prompt", flat=True).first()
    leaf = Message.objects.leaf_below(message.pk, stop=active)
    Conversation.objects.filter(pk=conversation.pk).update(head=leaf)
    changes.announce_conversation(conversation, approvers.concerned(conversation))


@transaction.atomic
def give_feedback(reply: Message, value: int | None, reasons: Sequence[str], text: str) -> None:
    """Store the owner's feedback on a reply in place of the earlier one; None removes it."""
    detail = {"reasons": list(reasons), "text": text} if value is not None and (reasons or text) else None
    # before the message and what the hook locks, as where moderators decide
    Conversation.objects.select_for_update().get(pk=reply.conversation_id)
    Message.objects.filter(pk=reply.pk).update(
        feedback=value,
        feedback_at=None if value is None else timezone.now(),
        feedback_detail=detail,
    )
    reply.feedback, reply.feedback_detail = value, detail
    for told in hooks.message_rated:
        told(reply)
    changes.announce_conversation(reply.conversation)


@transaction.atomic
def restore(owner: User, conversation: str) -> Conversation:
    """Undo a deletion, and return the conversation. Its stopped runs and withdrawn questions stay that.

    Raises the 404 refusal if the deletion is older than UNDO_MINUTES, or not the owner's.
    """
    found = restorable(owner, conversation).select_for_update().first()
    if found is None:
        raise refusals.not_found()
    found.deleted_at = None
    Conversation.objects.filter(pk=found.pk).update(deleted_at=None)
    changes.announce_conversation(found, approvers.concerned(found))
    return found


@transaction.atomic
def mark_deleted(conversation: Conversation) -> list[uuid.UUID]:
    """Hide the conversation from everyone, end its queued run, and return its running runs.

    The processes that execute those end them as stopped, with the code ``deleted``.
    """
    Conversation.objects.filter(pk=conversation.pk, deleted_at=None).update(deleted_at=timezone.now())
    conversation.queue.all().delete()
    # First, for the order of locks: a run that ends here announces to its owner only.
    changes.announce_conversation(conversation, approvers.concerned(conversation))
    running = []
    for run in conversation.runs.active():
        Run.objects.filter(pk=run.pk, stop_requested_at=None).update(stop_requested_at=timezone.now())
        if not lifecycle.stop_queued(run.pk, code="deleted"):
            running.append(run.pk)
    return running
