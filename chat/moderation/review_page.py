"""The page of a review item: its facts, the excerpt after a claim, and the forms of each step."""

from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts.models import User
from chat import moderated, refusals
from chat.access import may_look, parse_id
from chat.admin.transcripts import entries_around
from chat.http import parsing
from chat.http.fields import Fields, Flag
from chat.models import Message
from chat.moderated import ModerationReason
from chat.moderation import hiding, review
from chat.moderation.decisions import DECISION_TEXT_MAX, SUSPENDED_DAYS_MAX
from chat.moderation.duties import (
    ACT_ON_CONTENT,
    MANAGE_RULES,
    READ_TEXT,
    VIEW_QUEUE,
    may_act_on,
    may_decide_about,
    staff_with,
)
from chat.moderation.hidden_contents import contents_of
from chat.moderation.models import Appeal, Decision, Report, ReviewItem, ReviewNote
from chat.moderation.queue_page import QueueQuery, neighbours, rows_of
from chat.refusals import Refusal

BESIDE = 2  # messages on either side of the item's
KIND_LABELS: dict[str, Promise] = {
    Decision.Kind.HIDE: gettext_lazy("Hide the message"),
    Decision.Kind.LOCK: gettext_lazy("Lock the conversation"),
    Decision.Kind.WARN: gettext_lazy("Warn the member"),
    Decision.Kind.SUSPEND: gettext_lazy("Suspend the account"),
}
DONE: dict[str, Promise] = {
    "act": gettext_lazy("It is done. The member reads the decision."),
    "dismiss": gettext_lazy("Dismissed: nothing is done about it."),
    "escalate": gettext_lazy("A senior moderator decides this."),
    "release": gettext_lazy("Your claim is given back."),
    Appeal.Outcome.UPHELD: gettext_lazy("The decision stays. The member reads that."),
    Appeal.Outcome.OVERTURNED: gettext_lazy("The decision is taken back. The member reads that."),
}
OUTCOME_OF = {"uphold": Appeal.Outcome.UPHELD, "overturn": Appeal.Outcome.OVERTURNED}


class DecisionForm(Fields):
    """Fields of the forms of decisions; a box that is not ticked is absent."""

    do: str = ""
    hide: Flag = False
    lock: Flag = False
    warn: Flag = False
    suspend: Flag = False
    until: str = ""
    reason: str = ""
    words: str = ""
    note: str = ""

    @property
    def kinds(self) -> list[str]:
        return [kind for kind in KIND_LABELS if getattr(self, kind)]

    @property
    def is_typed(self) -> bool:
        return bool(self.kinds or self.until or self.reason or self.words or self.note)


def end_of_suspension(typed: str) -> datetime | None:
    """Return the beginning of a day, in the time zone of the request. Raises the 422 refusal."""
    if not typed:
        return None
    try:
        day = date.fromisoformat(typed)
        return timezone.make_aware(datetime.combine(day, time.min))
    except (ValueError, OverflowError) as error:
        raise refusals.unprocessable("until", _("Give the end of the suspension as a date.")) from error


def sentence_of(denied: PermissionDenied) -> Refusal:
    """Return a 403 refusal with the sentence of a denied step, to be shown on the page of the form."""
    return Refusal(403, "denied", str(denied) or _("You may not do this."))


def suspension_days() -> dict[str, str]:
    """Return the first and the last day that a suspension may end on, for a date field."""
    today = timezone.localdate()
    days = {"first_day": 1, "last_day": SUSPENDED_DAYS_MAX}
    return {name: (today + timedelta(days=number)).isoformat() for name, number in days.items()}


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def item_page(request: HttpRequest, item: str) -> HttpResponse:
    """Show an item; a POST takes the step that ``do`` names. A refused one shows all that was typed again."""
    staff = staff_with(request, VIEW_QUEUE)
    found = _item_for(staff, item)
    query = QueueQuery.read(parsing.query_fields(request))
    typed, refusal = DecisionForm(), None
    if request.method == "POST":
        typed = DecisionForm.read(parsing.body_of(request))
        try:
            _take_step(staff, found, typed)
        except PermissionDenied as denied:
            refusal = sentence_of(denied)
        except Refusal as refused:
            if refused.status not in (409, 422):
                raise
            refusal = refused
        else:
            if typed.do in ("claim", "note"):
                # The rest of the form is not lost by these two.
                typed = typed.model_copy(update={"note": ""}) if typed.do == "note" else typed
                if not typed.is_typed:
                    return _to(reverse("review_item", args=[found.pk]), query)
            else:
                messages.success(request, str(DONE[OUTCOME_OF.get(typed.do, typed.do)]))
                return _to(reverse("review_queue"), query)
        found = _item_for(staff, item)
    context = {
        **admin.site.each_context(request),
        **_shown(request, staff, found, query, typed),
        "title": _("Review item"),
        "typed": typed,
        "refusal": refusal,
        "reasons": ModerationReason.choices,
        "text_max": DECISION_TEXT_MAX,
        "query": query,
        **suspension_days(),
    }
    status = refusal.status if refusal else 200
    return render(request, "admin/moderation/item.html", context, status=status)


def _item_for(staff: User, item: str) -> ReviewItem:
    """Return the item. Raises the 404 refusal, and PermissionDenied if it is about the wrong person."""
    key = parse_id(item)
    related = ("member", "message", "conversation__owner", "claimed_by", "decided_by")
    found = ReviewItem.objects.select_related(*related).filter(pk=key).first() if key else None
    if found is None:
        raise refusals.not_found()
    if not may_decide_about(staff, found.member, VIEW_QUEUE):
        raise PermissionDenied
    return found


def _to(address: str, query: QueueQuery) -> HttpResponse:
    found = query.encoded
    return HttpResponseRedirect(f"{address}?{found}" if found else address, status=303)


def _take_step(staff: User, item: ReviewItem, typed: DecisionForm) -> None:
    """Take the step that the form names. Raises PermissionDenied, and refusals."""
    match typed.do:
        case "claim":
            review.claim_item(staff, item.pk)
        case "release":
            review.release(staff, item.pk)
        case "act":
            until = end_of_suspension(typed.until)
            shared = {"reason": typed.reason, "words": typed.words, "note": typed.note}
            review.act(staff, item.pk, typed.kinds, until=until, **shared)
        case "dismiss":
            review.dismiss(staff, item.pk, reason=typed.reason, note=typed.note)
        case "escalate":
            review.escalate(staff, item.pk, note=typed.note)
        case "note":
            review.add_note(staff, item.pk, typed.note)
        case "uphold" | "overturn":
            review.decide_appeal(staff, item.pk, OUTCOME_OF[typed.do], words=typed.words, note=typed.note)
        case _:
            raise refusals.unprocessable("action", _("Choose what is to be done."))


# --- what is shown ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """Something that happened to an item; ``texts`` are empty until they may be read."""

    at: datetime
    sentence: str
    by: User | None = None
    texts: list[tuple[str, str]] = field(default_factory=list)  # each with its label


@dataclass(frozen=True, slots=True)
class ActChoice:
    """Box of the form, and the reason why it need not be ticked."""

    kind: str
    label: Promise
    is_ticked: bool
    is_in_force: bool


def _shown(
    request: HttpRequest, staff: User, item: ReviewItem, query: QueueQuery, typed: DecisionForm
) -> dict[str, Any]:
    """Return the context. The look is stored first; without it, nothing of the member's is in there."""
    is_claimed = bool(item.claimed_until and item.claimed_until > timezone.now())
    is_mine = is_claimed and item.claimed_by_id == staff.pk
    reads = _reads(request, staff, item, is_mine=is_mine)
    is_named = is_mine or reads
    message = review.reviewed_message(item) if reads else None
    if message and item.conversation:
        message.conversation = item.conversation
    before, after = neighbours(staff, query, item)
    appeal = review.open_appeal(item) if is_mine and item.status == ReviewItem.Status.APPEALED else None
    is_open = item.status in (ReviewItem.Status.OPEN, ReviewItem.Status.ESCALATED)
    decides = may_decide_about(staff, item.member, ACT_ON_CONTENT)
    acts = may_act_on(staff, item.member)
    may_decide = (
        is_mine and is_open and (item.status == ReviewItem.Status.OPEN or staff.has_perm(MANAGE_RULES))
    )
    return {
        "item": item,
        "row": rows_of(staff, [item])[0],
        "is_claimed": is_claimed,
        "is_mine": is_mine,
        "unclaimable": "" if is_mine or not item.is_undecided else _why_unclaimable(staff, item),
        "is_named": is_named,
        "reads": reads,
        "may_read": staff.has_perm(READ_TEXT),
        "message": message,
        "conversation": item.conversation if is_named else None,
        "reports": _reports_of(item, reads=reads),
        "history": _history_of(item, is_named=is_named, reads=reads),
        "appeal": appeal,
        "before": before,
        "after": after,
        "choices": _choices(item, message, typed, decides=may_decide and decides, acts=may_decide and acts),
        "may_act": may_decide and (decides or acts),
        "may_say": appeal is not None or (may_decide and (decides or acts)),
        "may_dismiss": may_decide and decides,
        "may_escalate": is_mine and item.status == ReviewItem.Status.OPEN,
        "may_decide_conversation": is_named and decides and staff.has_perm("chat.view_conversation"),
        "may_decide_member": is_named and acts,
        "may_see_whole": reads and staff.has_perms([READ_TEXT, "chat.view_conversation"]),
        "may_view_runs": staff.has_perm("chat.view_run"),
        "may_view_users": staff.has_perm("accounts.view_user"),
        **_excerpt(item, message),
    }


def _reads(request: HttpRequest, staff: User, item: ReviewItem, *, is_mine: bool) -> bool:
    """Return whether the member's text is shown, by a claim or a grant. If so, the look is stored."""
    if item.conversation is None:  # an appeal against what was decided about the account
        return is_mine and staff.has_perm(READ_TEXT)
    if is_mine:
        return review.record_item_look(request, item)
    return may_look(request, item.conversation)


def _why_unclaimable(staff: User, item: ReviewItem) -> str:
    """Return why this person cannot claim the item now; empty if they can."""
    try:
        review.check_claim(staff, item)
    except Refusal as refusal:
        return refusal.detail
    except PermissionDenied as denied:
        return sentence_of(denied).detail
    return ""


def _reports_of(item: ReviewItem, *, reads: bool) -> list[HistoryEntry]:
    return [
        HistoryEntry(
            report.reported_at,
            f"{Report.Source(report.source).label}: {moderated.label_of(report.reason)}",
            texts=[("", report.note)] if report.note and reads else [],
        )
        for report in item.reports.order_by("reported_at", "pk")
    ]


def _history_of(item: ReviewItem, *, is_named: bool, reads: bool) -> list[HistoryEntry]:
    """Return notes, decisions and appeals, oldest first. Staff's texts come with the name."""
    found = [
        HistoryEntry(note.written_at, _("Note"), note.author, [("", note.text)] if is_named else [])
        for note in ReviewNote.objects.filter(item=item).select_related("author")
    ]
    for decision in item.decisions.select_related("decided_by"):
        sentence = f"{Decision.Kind(decision.kind).label}: {moderated.label_of(decision.reason)}"
        texts = [(_("To the member"), decision.words)] if decision.words and is_named else []
        found.append(HistoryEntry(decision.decided_at, sentence, decision.decided_by, texts))
    for appeal in item.appeals.select_related("decided_by"):
        text = [("", appeal.text)] if reads else []
        found.append(HistoryEntry(appeal.appealed_at, _("Appeal of the member"), None, text))
        if appeal.decided_at:
            outcome = str(Appeal.Outcome(appeal.outcome).label)
            words = [(_("To the member"), appeal.words)] if appeal.words and is_named else []
            found.append(HistoryEntry(appeal.decided_at, outcome, appeal.decided_by, words))
    return sorted(found, key=lambda entry: entry.at)


def _choices(
    item: ReviewItem, message: Message | None, typed: DecisionForm, *, decides: bool, acts: bool
) -> list[ActChoice]:
    """Return the boxes of what this person may do; ticked ones stay, also after the claim has ended."""
    conversation, until = item.conversation, item.member.suspended_until
    is_locked = bool(conversation and conversation.locked_at)
    possible = {
        Decision.Kind.HIDE: (decides and message is not None, bool(message and message.hidden_at)),
        Decision.Kind.LOCK: (decides and conversation is not None, is_locked),
        Decision.Kind.WARN: (acts, item.member.warned_at is not None),
        Decision.Kind.SUSPEND: (acts, bool(until and until > timezone.now())),
    }
    return [
        ActChoice(kind, KIND_LABELS[kind], is_ticked=kind in typed.kinds, is_in_force=in_force)
        for kind, (may, in_force) in possible.items()
        if may or kind in typed.kinds
    ]


def _excerpt(item: ReviewItem, message: Message | None) -> dict[str, Any]:
    """Return the messages around the item's, what hidden ones said, and where its words stand elsewhere."""
    if message is None or item.conversation is None:
        return {"entries": [], "hidden": {}, "places": []}
    entries = entries_around(item.conversation, message, BESIDE)
    hidden = contents_of([entry.message for entry in entries])
    text = hidden[message.pk].shown.message.text if message.pk in hidden else message.text
    return {"entries": entries, "hidden": hidden, "places": hiding.places_with(message, text)}
