"""The review queue: items are claimed, decided, escalated, and decided again after an appeal.

Each step is one guarded transaction: of two at the same time, the second reads a conflict.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import User
from chat import changes, refusals
from chat.models import Conversation, Message
from chat.moderated import ModerationReason
from chat.moderation import audit, decisions
from chat.moderation.decisions import DECISION_TEXT_MAX, PERMISSION_FOR, DecisionKind, Why
from chat.moderation.duties import (
    ACT_ON_CONTENT,
    MANAGE_RULES,
    READ_TEXT,
    VIEW_QUEUE,
    may_decide_about,
    others_who_may_decide,
)
from chat.moderation.models import (
    GRANT_LENGTH,
    AccessGrant,
    Appeal,
    Decision,
    ReviewItem,
    ReviewNote,
)
from chat.refusals import Refusal
from chat.text import is_visible

CLAIM_LENGTH = GRANT_LENGTH
APPEAL_WEIGHT = 60  # what an appeal adds to the priority of its item
OWN_APPEAL_AFTER = timedelta(hours=24)  # then the same person decides, if nobody else may
Status = ReviewItem.Status


def conflict(detail: str) -> Refusal:
    return Refusal(409, "conflict", detail)


# --- claims ---------------------------------------------------------------------------------------


@transaction.atomic
def claim_item(staff: User, item: uuid.UUID) -> ReviewItem:
    """Claim an undecided item for 30 minutes from now, and open its excerpt. Also extends one's own claim.

    Raises PermissionDenied, and 404 and 409 refusals.
    """
    found = _lock_item(staff, item)
    check_claim(staff, found)
    now = timezone.now()
    found.claimed_by, found.claimed_until = staff, now + CLAIM_LENGTH
    found.save(update_fields=["claimed_by", "claimed_until"])
    grant = None
    conversation = found.conversation
    if conversation and staff.has_perm(READ_TEXT):
        grant, is_new = AccessGrant.objects.select_for_update().get_or_create(
            staff=staff,
            item=found,
            revoked_at=None,
            defaults={
                "scope": AccessGrant.Scope.ITEM,
                "basis": AccessGrant.Basis.REPORT,
                "conversation": conversation,
                "expires_at": found.claimed_until,
            },
        )
        if not is_new:
            grant.expires_at = found.claimed_until
            grant.save(update_fields=["expires_at"])
    _record("item.claim", staff, found, grant=grant.pk if grant else None)
    return found


@transaction.atomic
def release(staff: User, item: uuid.UUID) -> ReviewItem:
    """Give one's claim back. Without one, nothing changes."""
    found = _lock_item(staff, item)
    if found.claimed_by_id == staff.pk:
        _end_claim(found)
        found.save(update_fields=["claimed_by", "claimed_until"])
        _record("item.release", staff, found)
    return found


def check_claim(staff: User, item: ReviewItem) -> None:
    """Raise PermissionDenied or the 409 refusal, unless ``staff`` may claim the item now."""
    now = timezone.now()
    if not item.is_undecided:
        raise conflict(_("This was decided already."))
    if item.claimed_by_id not in (None, staff.pk) and item.claimed_until and item.claimed_until > now:
        raise conflict(_("Somebody else has claimed this."))
    if item.status == Status.ESCALATED and not staff.has_perm(MANAGE_RULES):
        raise PermissionDenied(_("This was escalated: a senior moderator decides."))
    if item.status == Status.APPEALED:
        _refuse_own_appeal(staff, open_appeal(item))


def _refuse_own_appeal(staff: User, appeal: Appeal) -> None:
    """Raise PermissionDenied for an appeal against one's own decision, which somebody else decides.

    Where nobody else may, it is decided after 24 hours.
    """
    decision = appeal.decision
    permission = PERMISSION_FOR[DecisionKind(decision.kind)]
    if not may_decide_about(staff, decision.member, permission):
        raise PermissionDenied
    if decision.decided_by_id != staff.pk:
        return
    if others_who_may_decide(decision.member, permission, without=staff).exists():
        raise PermissionDenied(_("This is an appeal against your own decision: somebody else decides."))
    if appeal.appealed_at > timezone.now() - OWN_APPEAL_AFTER:
        raise PermissionDenied(
            _("This is an appeal against your own decision. Nobody else may decide: come back in 24 hours.")
        )


def own_decider_only(decision: Decision) -> bool:
    """Return whether nobody but its author may decide about an appeal against this decision."""
    if decision.decided_by is None:
        return False
    permission = PERMISSION_FOR[DecisionKind(decision.kind)]
    return not others_who_may_decide(decision.member, permission, without=decision.decided_by).exists()


def open_appeal(item: ReviewItem) -> Appeal:
    """Return the appeal of an item that is APPEALED."""
    return item.appeals.select_related("decision__member", "decision__decided_by").get(outcome="")


def reviewed_message(item: ReviewItem) -> Message | None:
    """Return the message that an item is about: its own, or that of its newest appeal."""
    if item.message:
        return item.message
    appeal = item.appeals.select_related("decision__message").order_by("-appealed_at").first()
    return appeal.decision.message if appeal else None


# --- decisions ------------------------------------------------------------------------------------


@transaction.atomic
def act(
    staff: User,
    item: uuid.UUID,
    kinds: Sequence[str],
    *,
    reason: str,
    words: str = "",
    note: str = "",
    until: datetime | None = None,
) -> list[Decision]:
    """Act on a claimed item in one or several ways (→ ACTIONED). Raises PermissionDenied, 409 and 422.

    Of ``Decision.Kind``, HIDE and LOCK are about its message and conversation, WARN and SUSPEND about the
    member; ``until`` is the end of a suspension.
    """
    found = _lock_claimed(staff, item, (Status.OPEN, Status.ESCALATED))
    if not kinds:
        raise refusals.unprocessable("action", _("Choose what is to be done."))
    why = Why(reason, words, note, found)
    done = [_act(staff, found, kind, why, until) for kind in dict.fromkeys(kinds)]
    _decide(staff, found, Status.ACTIONED, reason, note)
    return done


def _act(staff: User, item: ReviewItem, kind: str, why: Why, until: datetime | None) -> Decision:
    message, conversation = reviewed_message(item), item.conversation
    target = {"conversation": conversation, "message": message}
    if kind == DecisionKind.HIDE and message:
        return decisions.hide_message(staff, message, why)
    if kind == DecisionKind.LOCK and conversation:
        return decisions.impose_lock(staff, conversation, why)
    if kind == DecisionKind.WARN:
        return decisions.warn(staff, item.member, why, **target)
    if kind == DecisionKind.SUSPEND:
        if until is None:
            raise refusals.unprocessable("until", _("Say until when the account is suspended."))
        return decisions.suspend(staff, item.member, until, why, **target)
    raise refusals.unprocessable("action", _("This cannot be done here."))


@transaction.atomic
def dismiss(staff: User, item: uuid.UUID, *, reason: str = "", note: str = "") -> ReviewItem:
    """Decide that nothing is done about a claimed item (→ DISMISSED)."""
    found = _lock_claimed(staff, item, (Status.OPEN, Status.ESCALATED))
    if not may_decide_about(staff, found.member, ACT_ON_CONTENT):
        raise PermissionDenied
    if reason and reason not in ModerationReason.values:
        raise refusals.unprocessable("reason", _("Choose a reason."))
    _decide(staff, found, Status.DISMISSED, reason, note)
    return found


@transaction.atomic
def escalate(staff: User, item: uuid.UUID, *, note: str) -> ReviewItem:
    """Leave a claimed item to a senior moderator (OPEN → ESCALATED). It needs a note that says why."""
    found = _lock_claimed(staff, item, (Status.OPEN,))
    if not is_visible(note):
        raise refusals.unprocessable("note", _("Say why, in a few words."))
    _add_note(staff, found, note)
    found.status = Status.ESCALATED
    _end_claim(found)
    found.save(update_fields=["status", "claimed_by", "claimed_until"])
    _record("item.escalated", staff, found, text=note)
    return found


@transaction.atomic
def decide_appeal(staff: User, item: uuid.UUID, outcome: str, *, words: str = "", note: str = "") -> Appeal:
    """Decide the appeal of a claimed item (APPEALED → UPHELD, or OVERTURNED, which reverses the decision)."""
    found = _lock_claimed(staff, item, (Status.APPEALED,))
    appeal = open_appeal(found)
    _refuse_own_appeal(staff, appeal)
    if outcome not in Appeal.Outcome.values:
        raise refusals.unprocessable("outcome", _("Choose whether the decision stays."))
    _check_length(words, note)
    appeal.outcome, appeal.words = outcome, words
    appeal.decided_by, appeal.decided_at = staff, timezone.now()
    appeal.save(update_fields=["outcome", "words", "decided_by", "decided_at"])
    if outcome == Appeal.Outcome.OVERTURNED:
        decisions.reverse(staff, appeal.decision, note)
    _decide(staff, found, Status(outcome), appeal.decision.reason, note)
    return appeal


@transaction.atomic
def add_note(staff: User, item: uuid.UUID, text: str) -> ReviewNote:
    """Store a private note. Raises the 422 refusal if it says nothing or too much."""
    found = _lock_item(staff, item)
    if not is_visible(text):
        raise refusals.unprocessable("note", _("The note is empty."))
    stored = _add_note(staff, found, text)
    _record("item.note", staff, found, text=text)
    return stored


def _add_note(staff: User, item: ReviewItem, text: str) -> ReviewNote:
    _check_length(text)
    return ReviewNote.objects.create(item=item, author=staff, text=text)


def _check_length(*texts: str) -> None:
    if max(map(len, texts)) > DECISION_TEXT_MAX:
        raise refusals.unprocessable(
            "too_long", _("At most %(limit)s characters.") % {"limit": DECISION_TEXT_MAX}
        )


def _decide(staff: User, item: ReviewItem, status: str, reason: str, note: str) -> None:
    _check_length(note)
    if is_visible(note):
        _add_note(staff, item, note)
    item.status, item.decided_by, item.decided_at = status, staff, timezone.now()
    _end_claim(item)
    item.save(update_fields=["status", "decided_by", "decided_at", "claimed_by", "claimed_until"])
    changes.announce_decision(item.member_id)
    _record(f"item.{status}", staff, item, reason=reason, text=note)


def _lock_claimed(staff: User, item: uuid.UUID, statuses: Sequence[str]) -> ReviewItem:
    """Lock an item that this person has claimed, in one of the statuses. Raises the 409 refusal."""
    found = _lock_item(staff, item)
    if not found.is_undecided:
        raise conflict(_("This was decided already."))
    if found.claimed_by_id not in (None, staff.pk):
        raise conflict(_("Somebody else has claimed this."))
    if found.claimed_by_id is None or found.claimed_until is None or found.claimed_until <= timezone.now():
        raise conflict(_("Your claim has ended. Claim it again; what you typed is still here."))
    if found.status not in statuses:
        raise conflict(_("This has changed meanwhile. Look at it again."))
    if found.status == Status.ESCALATED and not staff.has_perm(MANAGE_RULES):
        raise PermissionDenied
    return found


def _lock_item(staff: User, item: uuid.UUID) -> ReviewItem:
    """Lock an item, after its conversation. Raises PermissionDenied, and the 404 refusal."""
    if not (staff.is_active and staff.is_staff and staff.has_perm(VIEW_QUEUE)):
        raise PermissionDenied
    named = ReviewItem.objects.filter(pk=item).values_list("conversation", flat=True).first()
    if named:
        Conversation.objects.select_for_update().get(pk=named)
    locked = ReviewItem.objects.select_for_update(of=("self",))
    found = locked.select_related("member", "message", "conversation").filter(pk=item).first()
    if found is None:
        raise refusals.not_found()
    if not may_decide_about(staff, found.member, VIEW_QUEUE):
        raise PermissionDenied(_("You do not decide about this account."))
    return found


def _end_claim(item: ReviewItem) -> None:
    """End a claim, and the right to read that came with it."""
    AccessGrant.objects.in_force().filter(item=item).update(revoked_at=timezone.now())
    item.claimed_by, item.claimed_until = None, None


def _record(action: str, staff: User, item: ReviewItem, **columns: Any) -> None:
    audit.record(action, actor=staff, member=item.member, object_type="item", object_id=item.pk, **columns)


# --- looks ----------------------------------------------------------------------------------------


@transaction.atomic
def record_item_look(request: HttpRequest, item: ReviewItem) -> bool:
    """Return whether the signed-in staff may see the item's excerpt now; if so, store the look."""
    staff = request.user
    conversation = item.conversation
    if not (isinstance(staff, User) and staff.is_active and staff.is_staff and conversation):
        return False
    if not staff.has_perms([VIEW_QUEUE, READ_TEXT]):
        return False
    grants = AccessGrant.objects.in_force().filter(staff=staff, item=item)
    grant = grants.select_for_update().order_by("-expires_at").first()
    if grant is None:
        return False
    audit.record(
        "look",
        actor=staff,
        member=item.member,
        object_type="conversation",
        object_id=conversation.pk,
        reason=grant.basis,
        grant=grant.pk,
        told_from=max(grant.told_from, timezone.now()),
    )
    return True


# --- appeals --------------------------------------------------------------------------------------


def decisions_about(member: User) -> QuerySet[Decision]:
    """Return the decisions about the member, with their appeals."""
    return Decision.objects.filter(member=member).select_related("appeal")


def appeal_against(decision: Decision) -> Appeal | None:
    found: Appeal | None = getattr(decision, "appeal", None)
    return found


def can_appeal(decision: Decision) -> bool:
    """Return whether its member can appeal: once, and not after it was taken back."""
    return decision.ended_at is None and appeal_against(decision) is None


@transaction.atomic
def appeal(member: User, decision: uuid.UUID, text: str) -> Appeal:
    """Store the member's appeal against a decision, and put it into the queue.

    Raises the 404 refusal for another member's, 409 if there is one or the decision was taken back, 422.
    """
    found = Decision.objects.filter(pk=decision, member=member).select_related("conversation").first()
    if found is None:
        raise refusals.not_found()
    if not is_visible(text):
        raise refusals.unprocessable("blank", _("Say why, in a few words."))
    _check_length(text)
    if found.conversation_id:
        Conversation.objects.select_for_update().get(pk=found.conversation_id)
    found = Decision.objects.select_for_update(of=("self",)).get(pk=found.pk)
    if Appeal.objects.filter(decision=found).exists():
        raise Refusal(409, "appealed", _("You have appealed against this already."))
    if found.ended_at:
        raise Refusal(409, "ended", _("This decision was taken back already."))
    item = _item_of_appeal(found)
    stored = Appeal.objects.create(decision=found, item=item, text=text)
    audit.record(
        "appeal", actor=member, member=member, object_type="decision", object_id=found.pk, reason=found.reason
    )
    changes.announce_decision(member.pk)
    return stored


def _item_of_appeal(decision: Decision) -> ReviewItem:
    """Return an item that becomes APPEALED: that of the message, unless it is undecided, or a new one."""
    conversation, message = decision.conversation, decision.message_id
    of_message = ReviewItem.objects.select_for_update().filter(message=message) if message else None
    item = None if of_message is None else of_message.exclude(status__in=ReviewItem.UNDECIDED).first()
    if item is None:
        item = ReviewItem(
            conversation=conversation,
            member_id=decision.member_id,
            agent=conversation.agent if conversation else "",
        )
        if of_message is not None and not of_message.exists():
            item.message_id = message
    item.status, item.opened_at = Status.APPEALED, timezone.now()
    item.priority += APPEAL_WEIGHT
    item.decided_by = item.decided_at = item.mailed_at = None
    item.save()
    return item
