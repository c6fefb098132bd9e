"""Decisions: what moderators do to a member's messages, conversations, answers and account.

Each function checks the permission, acts, and writes its row of the audit in one transaction. One that is
repeated returns the decision that is in force.
"""

import uuid
from datetime import datetime
from functools import partial
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import User
from chat import approvers, changes, doorbell, lifecycle, refusals
from chat.endings import MODERATED
from chat.models import Conversation, Message, Run
from chat.moderated import ModerationReason
from chat.moderation import audit, hiding
from chat.moderation.duties import ACT_ON_CONTENT, ACT_ON_MEMBERS, may_act_on, may_decide_about
from chat.moderation.models import Decision, ReviewItem
from chat.refusals import Refusal
from chat.runs.pending import stop_bell_names

DECISION_TEXT_MAX = 2_000  # characters of the words, and of the note
SUSPENDED_DAYS_MAX = 365
DecisionKind = Decision.Kind
PERMISSION_FOR = {
    DecisionKind.HIDE: ACT_ON_CONTENT,
    DecisionKind.LOCK: ACT_ON_CONTENT,
    DecisionKind.STOP: ACT_ON_CONTENT,
    DecisionKind.WARN: ACT_ON_MEMBERS,
    DecisionKind.SUSPEND: ACT_ON_MEMBERS,
}


class Why:
    """Reason and words that the member reads, the note that only staff read, and the item it is about.

    Its creation raises 422 refusals.
    """

    def __init__(self, reason: str, words: str = "", note: str = "", item: ReviewItem | None = None) -> None:
        if reason not in ModerationReason.values:
            raise refusals.unprocessable("reason", _("Choose a reason."))
        if max(len(words), len(note)) > DECISION_TEXT_MAX:
            raise refusals.unprocessable(
                "too_long", _("At most %(limit)s characters.") % {"limit": DECISION_TEXT_MAX}
            )
        self.reason, self.words, self.note, self.item = reason, words, note, item


@transaction.atomic
def hide_message(staff: User, message: Message, why: Why) -> Decision:
    """Hide a message from its owner and the agent. A reply that is being written ends here."""
    conversation = _lock(message.conversation_id)
    _check(staff, conversation.owner, DecisionKind.HIDE)
    message = Message.objects.get(pk=message.pk)
    message.conversation = conversation
    if message.hidden_at:
        return Decision.objects.get(kind=DecisionKind.HIDE, message=message, ended_at=None)
    hiding.hide(message, why.reason, why.words)
    return _store(
        staff, DecisionKind.HIDE, conversation.owner, why, conversation=conversation, message=message
    )


@transaction.atomic
def hide_running(staff: User, run: Run, why: Why) -> Decision:
    """End a run, and hide what it has written; if it has written nothing, it is only stopped."""
    conversation = _lock(run.conversation_id)
    _check(staff, conversation.owner, DecisionKind.HIDE)
    hiding.end_now(run, hides=True)
    run = Run.objects.select_related("reply").get(pk=run.pk)
    if run.reply is None:
        if before := Decision.objects.filter(kind=DecisionKind.STOP, run=run.pk).first():
            return before
        return _store(
            staff, DecisionKind.STOP, conversation.owner, why, conversation=conversation, run=run.pk
        )
    return hide_message(staff, run.reply, why)


@transaction.atomic
def impose_lock(staff: User, conversation: Conversation, why: Why) -> Decision:
    """Let nobody ask or answer in the conversation, and stop its run."""
    conversation = _lock(conversation.pk)
    _check(staff, conversation.owner, DecisionKind.LOCK)
    if conversation.locked_at:
        return Decision.objects.get(kind=DecisionKind.LOCK, conversation=conversation, ended_at=None)
    Conversation.objects.filter(pk=conversation.pk).update(
        locked_at=timezone.now(), locked_reason=why.reason, locked_words=why.words
    )
    for run in conversation.runs.active():
        _stop(run)
    changes.announce_conversation(conversation, approvers.concerned(conversation))
    return _store(staff, DecisionKind.LOCK, conversation.owner, why, conversation=conversation)


@transaction.atomic
def stop_answer(staff: User, run: Run, why: Why) -> Decision:
    """Stop an active run; what it has written stays. Raises the 409 refusal if it has ended."""
    conversation = _lock(run.conversation_id)
    _check(staff, conversation.owner, DecisionKind.STOP)
    if before := Decision.objects.filter(kind=DecisionKind.STOP, run=run.pk).first():
        return before
    if not Run.objects.active().filter(pk=run.pk).exists():
        raise Refusal(409, "ended", _("This answer has ended already."))
    _stop(run)
    return _store(staff, DecisionKind.STOP, conversation.owner, why, conversation=conversation, run=run.pk)


@transaction.atomic
def warn(staff: User, member: User, why: Why, **target: Any) -> Decision:
    """Give the member a warning, which must be acknowledged before the next ask.

    ``target`` is the ``conversation`` and the ``message`` that it is about, if there is one. Raises the 409
    refusal while there is another one.
    """
    _check(staff, member, DecisionKind.WARN)
    User.objects.select_for_update(no_key=True).get(pk=member.pk)
    if Decision.objects.filter(
        kind=DecisionKind.WARN, member=member, ended_at=None, acknowledged_at=None
    ).exists():
        raise Refusal(409, "warned", _("This member has a warning that is not acknowledged."))
    stored = _store(staff, DecisionKind.WARN, member, why, **target)
    User.objects.filter(pk=member.pk).update(warned_at=stored.decided_at, warned_decision=stored.pk)
    return stored


@transaction.atomic
def suspend(staff: User, member: User, until: datetime, why: Why, **target: Any) -> Decision:
    """Let the member ask and answer nothing until then, and stop their runs. Replaces an earlier suspension.

    ``target`` is as for ``warn``. Raises the 422 refusal for a time that is past or too far away.
    """
    _check(staff, member, DecisionKind.SUSPEND)
    days = (until - timezone.now()).total_seconds() / 86_400
    if not 0 < days <= SUSPENDED_DAYS_MAX:
        raise refusals.unprocessable(
            "until", _("A suspension ends within %(days)s days.") % {"days": SUSPENDED_DAYS_MAX}
        )
    active = list(Run.objects.active().filter(owner=member).order_by("pk"))
    for run in active:  # conversations before the account, as in each transaction that locks both
        _lock(run.conversation_id)
    User.objects.select_for_update(no_key=True).get(pk=member.pk)
    before = Decision.objects.filter(kind=DecisionKind.SUSPEND, member=member, ended_at=None).first()
    if before and (before.until, before.reason, before.words) == (until, why.reason, why.words):
        return before
    if before:
        Decision.objects.filter(pk=before.pk).update(ended_at=timezone.now())
    stored = _store(staff, DecisionKind.SUSPEND, member, why, until=until, **target)
    User.objects.filter(pk=member.pk).update(
        suspended_until=until, suspended_reason=why.reason, suspended_decision=stored.pk
    )
    for run in active:
        _stop(run)
    return stored


@transaction.atomic
def take_back(staff: User, decision: Decision, note: str = "") -> Decision:
    """Take a decision back: restore, unlock, end the suspension or warning. A stopped run stays that."""
    _check(staff, decision.member, decision.kind)
    return reverse(staff, decision, note)


def reverse(staff: User, decision: Decision, note: str) -> Decision:
    """Take a decision back, in a transaction whose caller has checked that ``staff`` may."""
    conversation = _lock(decision.conversation_id) if decision.conversation_id else None
    found = Decision.objects.select_for_update().get(pk=decision.pk)
    if found.ended_at:
        return found
    Decision.objects.filter(pk=found.pk).update(ended_at=timezone.now())
    if found.kind == DecisionKind.HIDE and conversation and found.message_id:
        message = Message.objects.get(pk=found.message_id)
        message.conversation = conversation
        hiding.bring_back(message)
    elif found.kind == DecisionKind.LOCK and conversation:
        Conversation.objects.filter(pk=conversation.pk).update(
            locked_at=None, locked_reason=None, locked_words=None
        )
        changes.announce_conversation(conversation, approvers.concerned(conversation))
    elif found.kind == DecisionKind.SUSPEND:
        User.objects.filter(pk=found.member_id, suspended_decision=found.pk).update(
            suspended_until=None, suspended_reason=None, suspended_decision=None
        )
    elif found.kind == DecisionKind.WARN and found.acknowledged_at is None:
        User.objects.filter(pk=found.member_id).update(warned_at=None, warned_decision=None)
    changes.announce_decision(found.member_id)
    _record("decision.end", staff, found, note)
    found.refresh_from_db()
    return found


@transaction.atomic
def acknowledge(member: User, decision: uuid.UUID) -> Decision:
    """Store that the member has read a warning, once. Raises the 404 refusal for anything else."""
    found = (
        Decision.objects.select_for_update()
        .filter(pk=decision, member=member, kind=DecisionKind.WARN)
        .first()
    )
    if found is None:
        raise refusals.not_found()
    if found.acknowledged_at is None:
        found.acknowledged_at = timezone.now()
        found.save(update_fields=["acknowledged_at"])
        User.objects.filter(pk=member.pk).update(warned_at=None, warned_decision=None)
        changes.announce_decision(member.pk)
        audit.record(
            "warning.acknowledge",
            actor=member,
            member=member,
            object_type="decision",
            object_id=found.pk,
            reason=found.reason,
        )
    return found


def _lock(conversation: uuid.UUID) -> Conversation:
    return Conversation.objects.select_for_update(of=("self",)).select_related("owner").get(pk=conversation)


def _check(staff: User, member: User, kind: str) -> None:
    """Raise PermissionDenied, unless ``staff`` may decide this about the member."""
    permission = PERMISSION_FOR[DecisionKind(kind)]
    if not (staff.is_active and staff.is_staff and may_decide_about(staff, member, permission)):
        raise PermissionDenied
    if permission == ACT_ON_MEMBERS and not may_act_on(staff, member):
        raise PermissionDenied


def _stop(run: Run) -> None:
    now = timezone.now()
    Run.objects.active().filter(pk=run.pk).update(stop_requested_at=now, stop_code=MODERATED)
    lifecycle.stop_queued(run.pk, code=MODERATED)
    transaction.on_commit(partial(doorbell.ring_soon, stop_bell_names(run.pk)))


def _store(staff: User, kind: str, member: User, why: Why, **columns: Any) -> Decision:
    stored = Decision.objects.create(
        kind=kind,
        member=member,
        item=why.item,
        reason=why.reason,
        words=why.words,
        note=why.note,
        decided_by=staff,
        **columns,
    )
    changes.announce_decision(member.pk)
    _record(f"decision.{kind}", staff, stored, why.note)
    return stored


def _record(action: str, actor: User, decision: Decision, note: str) -> None:
    audit.record(
        action,
        actor=actor,
        member=decision.member,
        object_type="decision",
        object_id=decision.pk,
        reason=decision.reason,
        text=note,
    )
