"""Hidden messages: what is moved away from the member and the agent, and how it comes back.

Lock the conversation before each function here.
"""

import json
import uuid
from collections.abc import Iterable
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.timezone import localtime

from chat import approvers, changes, doorbell, endings, events, lifecycle
from chat.agent.memory.hidden import mark_of
from chat.agent.memory.session_data import stored_delta
from chat.begin import first_row
from chat.endings import MODERATED, End
from chat.lifecycle import Claim
from chat.models import (
    AppState,
    Conversation,
    Message,
    PersonRequest,
    Run,
    RunEvent,
    SessionEvent,
    UserState,
)
from chat.moderation.models import HiddenMessage, HiddenRun, HiddenTitle
from chat.rendering import RENDERER_VERSION
from chat.runs.execution import stored_outcome
from chat.runs.pending import stop_bell_names

STOPPED_BY_STAFF = End(events.STOPPED, MODERATED)
EMPTY_PARTS = {"v": 1, "items": []}
SOUGHT = 1_000  # messages in which the same words are looked for, the newest first
WORDS_MIN = 12  # characters of a line or sentence that is looked for


def hide(message: Message, reason: str, words: str) -> None:
    """Move the content of a message away from its owner and the agent. It must not be hidden yet."""
    conversation, now = message.conversation, timezone.now()
    runs = list(_runs_of(message).select_related("conversation", "prompt"))
    for run in runs:
        if run.is_active:
            end_now(run)
    message.refresh_from_db()
    HiddenMessage.objects.create(
        message=message,
        conversation=conversation,
        text=message.text,
        parts=message.parts,
        html=message.html,
        renderer_version=message.renderer_version,
        feedback_detail=message.feedback_detail,
    )
    Message.objects.filter(pk=message.pk).update(
        text="",
        parts=EMPTY_PARTS,
        html="",
        renderer_version=RENDERER_VERSION,
        feedback_detail=None,
        hidden_at=now,
        hidden_reason=reason,
        hidden_words=words,
    )
    for run in Run.objects.filter(pk__in=[each.pk for each in runs]):
        if not HiddenRun.objects.filter(run=run).exists():
            _hide_run(run, conversation)
    if message.role == Message.Role.ASSISTANT and message.run_id:
        _shorten_log(message.run_id, events.replace(""))
    # The words of a spoken question are in the log, too. Each event keeps its number.
    spoken = RunEvent.objects.filter(run__in=runs, type=events.HEARD)
    spoken.update(data=events.encode_json(events.heard("", final=True).data))
    _hide_title(conversation)
    changes.announce_conversation(conversation, approvers.concerned(conversation))


def bring_back(message: Message) -> None:
    """Bring the content of a hidden message back. Its run's log stays short: it has the text in one event."""
    conversation = message.conversation
    kept = HiddenMessage.objects.get(pk=message.pk)
    Message.objects.filter(pk=message.pk).update(
        text=kept.text,
        parts=kept.parts,
        html=kept.html,
        renderer_version=kept.renderer_version,
        feedback_detail=kept.feedback_detail,
        hidden_at=None,
        hidden_reason=None,
        hidden_words=None,
    )
    kept.delete()
    for run in _runs_of(message).filter(prompt__hidden_at=None).select_related("reply", "prompt"):
        if run.reply is None or run.reply.hidden_at is None:
            _restore_run(run)
    if message.role == Message.Role.ASSISTANT and message.run_id:
        _shorten_log(message.run_id, events.text(kept.text))
    _restore_title(conversation)
    changes.announce_conversation(conversation, approvers.concerned(conversation))


def end_now(run: Run, *, hides: bool = False) -> None:
    """End an active run here, with what its log has; the process that executes it notices that it has lost.

    Its stored reply is shown like that of any stopped run. With ``hides``, which a ``hide`` of the reply in
    the same transaction must follow, its readers are told to take back what it has shown.
    """
    if lifecycle.stop_queued(run.pk, code=MODERATED) is not None:
        return
    # In a statement of its own, before the log is read: no process can write to the log after it.
    raised = Run.objects.filter(pk=run.pk, status=Run.Status.RUNNING).update(epoch=F("epoch") + 1)
    if not raised:
        return
    run.refresh_from_db()
    claim = Claim(run.pk, run.epoch)
    outcome, fold = stored_outcome(run, STOPPED_BY_STAFF)
    # ``_shorten_log`` leaves this event under the same number.
    taken_back = [events.replace("")] if hides and fold.has_items else []
    lifecycle.end(claim, outcome, fold, taken_back)
    # The process that executes it stops, and the readers read the log again.
    transaction.on_commit(partial(doorbell.ring_soon, stop_bell_names(run.pk)))


def _runs_of(message: Message) -> Any:
    """Return the run that wrote a reply, or the runs that answer a question."""
    if message.role == Message.Role.ASSISTANT:
        return Run.objects.filter(reply=message)
    return Run.objects.filter(prompt=message)


# --- runs -----------------------------------------------------------------------------------------


def _hide_run(run: Run, conversation: Conversation) -> None:
    payloads = list(run.session_events.order_by("position").values_list("payload", flat=True))
    delta: dict[str, dict[str, Any]] = {"session": {}, "user": {}, "app": {}}
    for payload in payloads:
        for scope, values in stored_delta(payload).items():
            delta[scope].update(values)
    hidden = HiddenRun(run=run, conversation=conversation, payloads=payloads)
    hidden.user_state = _take_out(
        UserState.objects.filter(user=run.owner_id, agent=conversation.agent), delta["user"]
    )
    hidden.app_state = _take_out(AppState.objects.filter(agent=conversation.agent), delta["app"])
    for request in run.requests.all():
        hidden.requests[str(request.pk)] = {name: getattr(request, name) for name in _REQUEST_TEXTS} | {
            "expires_at": request.expires_at.isoformat()
        }
        empty: dict[str, Any] = {"args": {}, "hint": "", "schema": None, "payload": None, "answer": None}
        if not request.decision:
            empty["expires_at"] = timezone.now()  # nobody decides what they can't read
        PersonRequest.objects.filter(pk=request.pk).update(**empty)
    hidden.save(force_insert=True)
    SessionEvent.objects.filter(run=run).delete()
    state = {key: mark_of(key, value) for key, value in delta["session"].items()}
    # The row says also that the run's files and artifacts are hidden. "files": servers of the version before
    # read it.
    marks: dict[str, Any] = {"state": state, "files": []}
    Run.objects.filter(pk=run.pk).update(hidden_marks=marks)


_REQUEST_TEXTS = ("args", "hint", "schema", "payload", "answer")


def _take_out(rows: Any, values: dict[str, Any]) -> dict[str, str]:
    """Delete the rows of a scope that still hold these values; return their JSON texts by key."""
    found = {}
    for row in rows.filter(key__in=values):
        if row.value == json.dumps(values[row.key]):
            found[row.key] = row.value
            row.delete()
    return found


def _restore_run(run: Run) -> None:
    hidden = HiddenRun.objects.filter(run=run).first()
    if hidden is None:
        return
    SessionEvent.objects.bulk_create(
        SessionEvent(run=run, position=position, payload=payload)
        for position, payload in enumerate(hidden.payloads)
    )
    for key, columns in hidden.requests.items():
        expires_at = columns.pop("expires_at")
        PersonRequest.objects.filter(pk=uuid.UUID(key)).update(**columns)
        PersonRequest.objects.filter(pk=uuid.UUID(key), decision="").update(expires_at=expires_at)
    agent = run.conversation.agent
    UserState.objects.bulk_create(
        [
            UserState(user_id=run.owner_id, agent=agent, key=key, value=value)
            for key, value in hidden.user_state.items()
        ],
        ignore_conflicts=True,  # a later run may have set it
    )
    AppState.objects.bulk_create(
        [AppState(agent=agent, key=key, value=value) for key, value in hidden.app_state.items()],
        ignore_conflicts=True,
    )
    hidden.delete()
    Run.objects.filter(pk=run.pk).update(hidden_marks=None)


def _shorten_log(run_id: uuid.UUID, said: events.Event) -> None:
    """Leave of a run's log its first event, ``said``, and its end, under the last two numbers."""
    run = Run.objects.select_related("conversation", "reply").get(pk=run_id)
    RunEvent.objects.filter(run=run).delete()
    rows = [first_row(run)]
    if run.last_seq > 2:
        rows.append(events.Row.of(run.last_seq - 1, said))
    rows.append(events.Row.of(run.last_seq, endings.terminal_event(run)))
    RunEvent.objects.bulk_create(RunEvent(run=run, seq=row.seq, type=row.type, data=row.data) for row in rows)


# --- the title ------------------------------------------------------------------------------------


def _hide_title(conversation: Conversation) -> None:
    conversation.refresh_from_db(fields=["title", "title_is_manual"])
    if conversation.title_is_manual:
        return
    shown = date_format(localtime(conversation.created_at), "DATE_FORMAT")
    _kept, is_new = HiddenTitle.objects.get_or_create(
        conversation=conversation, defaults={"title": conversation.title, "shown": shown}
    )
    if is_new:
        _set_title(conversation, shown)


def _restore_title(conversation: Conversation) -> None:
    kept = HiddenTitle.objects.filter(conversation=conversation).first()
    if kept is None or HiddenMessage.objects.filter(conversation=conversation).exists():
        return
    conversation.refresh_from_db(fields=["title", "title_is_manual"])
    if conversation.title == kept.shown and not conversation.title_is_manual:
        _set_title(conversation, kept.title)
    kept.delete()


def _set_title(conversation: Conversation, title: str) -> None:
    Conversation.objects.filter(pk=conversation.pk).update(title=title)
    conversation.title = title
    # The first event of each run names the title of its time.
    for run in conversation.runs.only("prompt"):
        run.conversation = conversation
        RunEvent.objects.filter(run=run, seq=1).update(data=first_row(run).data)


# --- the same words elsewhere ---------------------------------------------------------------------


def places_with(message: Message, text: str) -> list[Message]:
    """Return other messages of the conversation that have a line or sentence of ``text``, newest first."""
    pieces = set(_pieces(text))
    if not pieces:
        return []
    others = Message.objects.filter(conversation=message.conversation_id).exclude(
        Q(pk=message.pk) | Q(hidden_at__isnull=False)
    )
    newest = others.order_by("-created_at", "-id")[:SOUGHT]
    return [each for each in newest if _has_any(each, pieces)]


def _pieces(text: str) -> Iterable[str]:
    for line in text.splitlines():
        for piece in line.replace("! ", ". ").replace("? ", ". ").split(". "):
            found = piece.strip(" .!?*_#>-")
            if len(found) >= WORDS_MIN:
                yield found


def _has_any(message: Message, pieces: set[str]) -> bool:
    whole = message.text + json.dumps(message.parts, ensure_ascii=False)
    return any(piece in whole for piece in pieces)
