"""Queue of a conversation: asks that wait until the answer before them has ended.

Every function here that changes a queue needs its conversation locked.
"""

import uuid
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Exists, F, OuterRef, Q, Subquery
from django.utils import timezone

from accounts.models import User, able_to_ask
from accounts.statements import Statement
from chat import changes, doorbell, hooks, refusals, waiting
from chat.begin import begin_run, store_question
from chat.files.attaching import files_left, release_files
from chat.files.models import File
from chat.models import QUEUE_MAX, Conversation, PersonRequest, Process, QueuedAsk, Run
from chat.refusals import Refusal

# Why a queue waits. Three more are the statuses stopped, failed and expired of the run that ended last.
ANSWERING = "answering"  # a run is active, on this or another branch
REQUEST = "request"  # a request waits for a person
LOCKED = "locked"
LIMIT = "limit"  # the member has RUNS_PER_MEMBER active runs
SOON = "soon"  # nothing: the next sweep asks


def is_over_limit(owner_id: int) -> bool:
    """Return whether the member has as many active runs as one may have."""
    limit = settings.RUNS_PER_MEMBER
    return bool(settings.LIMITS) and len(_active_of.all(owner_id)) >= limit


_active_of = Statement(lambda owner: Run.objects.active().filter(owner=owner).values_list("pk"))


def has_open_request(conversation: Conversation) -> bool:
    """Return whether a plain question would lapse a request of this conversation."""
    return any(not request.is_job for request in waiting.open_requests(conversation))


def must_queue(conversation: Conversation, *, interrupts: bool) -> bool:
    """Return whether an ask that may wait has to: it neither overtakes another nor lapses a request."""
    if conversation.runs.active().exists() or has_open_request(conversation):
        return True
    return not interrupts and conversation.queue.exists()


def add(conversation: Conversation, ask: QueuedAsk) -> None:
    """Store an ask at the end of the queue, or at its head if it interrupts. Raises the 409 refusal."""
    queue = _queue_of.all(conversation.pk)
    if len(queue) >= QUEUE_MAX:
        raise refusals.queue_full(QUEUE_MAX)
    ask.conversation, ask.owner_id = conversation, conversation.owner_id
    ask.position = 1 if ask.interrupts else len(queue) + 1
    if ask.interrupts:
        for each in reversed(queue):  # one by one: two may never have the same position
            QueuedAsk.objects.filter(pk=each.pk).update(position=F("position") + 1)
    ask.save(force_insert=True)
    announce_queue(conversation)
    # The ledger's lock is held now: a run with this key is visible, or comes later and finds this ask.
    if ask.client_id and Run.objects.filter(owner=ask.owner_id, client_id=ask.client_id).exists():
        raise IntegrityError("The key was used at the same time.")


def remove(ask: QueuedAsk) -> None:
    """Delete an ask from its queue, and move up those after it."""
    QueuedAsk.objects.filter(pk=ask.pk).delete()
    after = QueuedAsk.objects.filter(conversation=ask.conversation_id, position__gt=ask.position)
    for pk in list(after.order_by("position").values_list("pk", flat=True)):
        QueuedAsk.objects.filter(pk=pk).update(position=F("position") - 1)


def withdraw_all(conversation: Conversation) -> None:
    """Delete the whole queue."""
    for ids in conversation.queue.values_list("files", flat=True):
        release_files(conversation, ids or ())
    if conversation.queue.all().delete()[0]:
        announce_queue(conversation)


def announce_queue(conversation: Conversation) -> None:
    """Record a change of the queue, at the end of the transaction that changed it."""
    number = changes.announce(conversation.owner_id)
    Conversation.objects.filter(pk=conversation.pk).update(queue_change=number)


def why_waiting(conversation: Conversation, first: QueuedAsk) -> str:
    """Return why the queue waits, whose ``first`` one is asked next; SOON if nothing prevents it."""
    if conversation.locked_at:
        return LOCKED
    if conversation.runs.active().exists():
        return ANSWERING
    last = conversation.runs.counted().order_by("-last_change").defer("state_after").first()
    if has_open_request(conversation) or (last and _undecided(last)):
        return REQUEST
    if last and last.status != Run.Status.COMPLETED and not first.interrupts:
        return last.status
    return LIMIT if is_over_limit(conversation.owner_id) else SOON


def _undecided(run: Run) -> bool:
    # Also when another branch is shown: a queue must not go on there because its member looks at it.
    undecided = run.requests.filter(decision="", is_job=False, expires_at__gt=timezone.now())
    return undecided.filter(run__reply__hidden_at=None).exists()


def refuse_by_rules(member: User, conversation: Conversation | None, prompt: str) -> None:
    """Raise the Refusal of a warning that is not acknowledged, or of a hook that forbids this ask."""
    if member.warned_at:
        raise refusals.warned(member.warned_decision)
    for may_ask in hooks.may_ask:
        may_ask(member, conversation)
    for check_prompt in hooks.check_prompt:
        check_prompt(member, prompt)


def ask_next(conversation: Conversation, process: uuid.UUID | None) -> Run | None:
    """Ask the first one of the queue, if nothing prevents it. ``process`` executes its run, if it may."""
    first = conversation.queue.order_by("position").first()
    if first is None:
        return None
    conversation.refresh_from_db(fields=["head", "locked_at", "deleted_at"])
    if conversation.deleted_at or not User.objects.able_to_ask().filter(pk=conversation.owner_id).exists():
        withdraw_all(conversation)
        return None
    if why_waiting(conversation, first) != SOON:
        return None
    try:
        refuse_by_rules(conversation.owner, conversation, first.text)
    except Refusal:
        return None  # it stays in the queue, which shows it as waiting
    return ask_now(conversation, first, process)


def ask_now(conversation: Conversation, ask: QueuedAsk, process: uuid.UUID | None) -> Run:
    """Ask one of the queue, at the end of the active branch, and assign its run to a living process."""
    now, change = timezone.now(), changes.announce(conversation.owner_id)
    remove(ask)
    Conversation.objects.filter(pk=conversation.pk).update(queue_change=change)
    files = files_left(conversation.owner, [uuid.UUID(pk) for pk in ask.files or ()])
    prompt = store_question(conversation, conversation.head_id, ask.text, None, now, files)
    run = begin_run(
        conversation,
        prompt,
        now,
        change,
        id=ask.id,
        client_id=ask.client_id,
        request_digest=ask.request_digest,
        mode=ask.mode,
        process=_executor(process),
    )
    transaction.on_commit(lambda: doorbell.ring_soon([doorbell.PENDING_REQUESTS]))
    return run


def _executor(preferred: uuid.UUID | None) -> Process | None:
    # Locked, so that the process's row is not deleted before the run refers to it.
    living = Process.objects.living().select_for_update(no_key=True)
    found = living.filter(pk=preferred).first() if preferred else None
    return found or living.order_by("?").first()


def queues_to_continue() -> list[uuid.UUID]:
    """Return conversations whose queue may go on although no run has just ended there.

    A limit, a lock or a request was in its way, or the account was deactivated or suspended. The thorough
    check is ``ask_next``; this one leaves out the queues that wait for their member.
    """
    active = Run.objects.active().filter(conversation=OuterRef("conversation"))
    last = Run.objects.counted().filter(conversation=OuterRef("conversation")).order_by("-last_change")
    undecided = PersonRequest.objects.filter(
        run__conversation=OuterRef("conversation"),
        run__reply=OuterRef("conversation__head"),
        run__reply__hidden_at=None,
        decision="",
        is_job=False,
        expires_at__gt=timezone.now(),
    )
    found = QueuedAsk.objects.annotate(last_status=Subquery(last.values("status")[:1])).filter(
        ~able_to_ask("owner__")
        | Q(conversation__locked_at=None)
        & (Q(interrupts=True) | Q(last_status=Run.Status.COMPLETED))
        & ~Exists(active)
        & ~Exists(undecided),
        position=1,
    )
    return list(found.values_list("conversation", flat=True))


@transaction.atomic
def continue_queue(conversation: uuid.UUID, process: uuid.UUID | None) -> Run | None:
    """Lock a conversation and ask the first one of its queue, if nothing prevents it."""
    found = Conversation.objects.select_for_update().filter(pk=conversation).first()
    return ask_next(found, process) if found else None


def queue_json(conversation: Conversation) -> list[dict[str, Any]]:
    """Return the queue of a conversation as clients receive it."""
    queue = _queue_of.all(conversation.pk)
    why = why_waiting(conversation, queue[0]) if queue else ""
    ids = [uuid.UUID(pk) for ask in queue for pk in ask.files or ()]
    files = {str(file.pk): file.as_item() for file in File.objects.filter(pk__in=ids)} if ids else {}
    return [
        {
            "id": str(ask.pk),
            "text": ask.text,
            "why": why,
            "files": [files[pk] for pk in ask.files or () if pk in files],
        }
        for ask in queue
    ]


_queue_of = Statement(lambda pk: QueuedAsk.objects.filter(conversation=pk).order_by("position"))
