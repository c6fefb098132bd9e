"""Reports: what brings a message into the review queue."""

from datetime import timedelta
from math import ceil

from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import User
from chat import changes, refusals
from chat.models import Conversation, Message, Run
from chat.moderated import ModerationReason
from chat.moderation import audit
from chat.moderation.models import Report, ReviewItem
from chat.moderation.policy import policy_in_force
from chat.refusals import Refusal

NOTE_MAX = 2_000  # characters
REPORTS_AN_HOUR = 20  # of one member
HOUR = timedelta(hours=1)

# What each reason adds to the priority of its item.
WEIGHTS: dict[str, int] = {
    ModerationReason.SELF_HARM: 100,
    ModerationReason.ILLEGAL: 100,
    ModerationReason.HARMFUL: 50,
    ModerationReason.PRIVACY: 40,
    ModerationReason.OTHER: 20,
    ModerationReason.WRONG: 10,
}
REPEATED = 1  # what a further note with the same reason adds
URGENT = (ModerationReason.SELF_HARM, ModerationReason.ILLEGAL)  # staff get a letter at once

_OF_FEEDBACK: dict[str, str] = {
    Message.Reason.UNSAFE: ModerationReason.HARMFUL,
    Message.Reason.WRONG: ModerationReason.WRONG,
}


# What the member reads of an item's state. After an appeal it is undecided again.
_STATUSES: dict[str, str] = {
    ReviewItem.Status.ACTIONED: "acted",
    ReviewItem.Status.UPHELD: "acted",
    ReviewItem.Status.DISMISSED: "dismissed",
    ReviewItem.Status.OVERTURNED: "dismissed",
}


def reports_of(member: User) -> QuerySet[Report]:
    """Return the reports that the member sent, without feedback."""
    return Report.objects.filter(member=member, source=Report.Source.REPORT).select_related("item")


def status_of(report: Report) -> str:
    """Return ``open``, ``acted`` or ``dismissed``, for the member who sent it."""
    return _STATUSES.get(report.item.status, "open")


@transaction.atomic
def report_reply(member: User, reply: Message, reason: str, note: str) -> tuple[Report, bool]:
    """Store the owner's report of a reply; return the first one of this message, and whether it is that.

    A later one with another reason or note adds to it. Raises 403, 404, 422 and 429 refusals.
    """
    if not policy_in_force().takes_reports:
        raise Refusal(403, "reports_off", _("This site takes no reports."))
    if reason not in ModerationReason.values:
        raise refusals.unprocessable("reason", _("Choose a reason."))
    if len(note) > NOTE_MAX:
        raise refusals.unprocessable("too_long", _("At most %(limit)s characters.") % {"limit": NOTE_MAX})
    Conversation.objects.select_for_update().get(pk=reply.conversation_id)
    reply.refresh_from_db(fields=["hidden_at"])  # it may have been hidden before this request had the lock
    if reply.hidden_at:
        raise refusals.not_found()
    own = reports_of(member)
    before = own.filter(item__message=reply).order_by("reported_at", "id")
    first = before.first()
    same = before.filter(reason=reason, note=note) if note else before.filter(reason=reason)
    if first and same.exists():
        return first, False
    _refuse_many(own)
    stored = add_report(reply, Report.Source.REPORT, reason, note, member)
    audit.record(
        "report", actor=member, member=member, object_type="item", object_id=stored.item_id, reason=reason
    )
    changes.announce_decision(member.pk)  # it is in the list of their reports
    return first or stored, first is None


def _refuse_many(own: QuerySet[Report]) -> None:
    """Raise the 429 refusal after REPORTS_AN_HOUR reports in the last hour; it says when there is room."""
    now = timezone.now()
    newest = own.filter(reported_at__gt=now - HOUR).order_by("-reported_at")
    nth = newest.values_list("reported_at", flat=True)[REPORTS_AN_HOUR - 1 : REPORTS_AN_HOUR].first()
    if nth:
        raise refusals.too_many(
            _("At most %(limit)s reports in an hour.") % {"limit": REPORTS_AN_HOUR},
            retry_after=ceil((nth + HOUR - now).total_seconds()),
        )


def add_report(message: Message, source: str, reason: str, note: str, member: User | None) -> Report:
    """Store a report, with its item if the message has none. Lock the conversation before.

    A reason that the item does not have opens a decided one again.
    """
    conversation = message.conversation
    item, is_new_item = ReviewItem.objects.select_for_update().get_or_create(
        message=message,
        defaults={
            "conversation": conversation,
            "member_id": conversation.owner_id,
            "agent": conversation.agent,
        },
    )
    is_new = not item.reports.filter(reason=reason).exists()
    stored = Report.objects.create(item=item, source=source, reason=reason, note=note, member=member)
    changed: dict[str, object] = {"priority": F("priority") + (WEIGHTS[reason] if is_new else REPEATED)}
    if is_new and not is_new_item and not item.is_undecided:
        changed |= {
            "status": ReviewItem.Status.OPEN,
            "opened_at": stored.reported_at,  # so the reports since then are those of this round
            "decided_by": None,
            "decided_at": None,
            "mailed_at": None,
        }
    if is_new and reason in URGENT:
        changed["mailed_at"] = None
    ReviewItem.objects.filter(pk=item.pk).update(**changed)
    return stored


def report_feedback(reply: Message) -> None:
    """Store bad feedback with a reason or a text as a report, if the rules say so. In its transaction."""
    detail = reply.feedback_detail or {}
    if reply.feedback != Message.Feedback.BAD or not detail or reply.hidden_at:
        return
    if not policy_in_force().takes_feedback:
        return
    note = str(detail.get("text", ""))[:NOTE_MAX]
    found = [_OF_FEEDBACK.get(each, ModerationReason.OTHER) for each in detail.get("reasons", [])] or [
        ModerationReason.OTHER
    ]
    reasons = sorted(set(found), key=lambda each: -WEIGHTS[each])
    same = Report.objects.filter(item__message=reply, source=Report.Source.FEEDBACK, note=note)
    for reason in reasons:
        if not same.filter(reason=reason).exists():
            add_report(reply, Report.Source.FEEDBACK, reason, note, reply.conversation.owner)


def report_block(run: Run) -> None:
    """Store that the model blocked an answer, if the rules say so. In the transaction of the run's end."""
    if policy_in_force().takes_blocks:
        message = run.reply or run.prompt
        message.conversation = run.conversation
        add_report(message, Report.Source.BLOCK, ModerationReason.HARMFUL, "", None)
