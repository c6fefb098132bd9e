"""The audit in the admin: its rows, the text of one row, and the export."""

import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from accounts.models import User, fold_case
from chat import refusals
from chat.database import run_db
from chat.http import parsing
from chat.http.fields import Fields
from chat.moderation import audit
from chat.moderation.duties import EXPORT_DATA, VIEW_AUDIT, staff_with
from chat.moderation.models import AuditEvent, AuditText

ROWS_SHOWN = 100
EXPORTED_AT_ONCE = 500
EXPORTED = (
    "seq", "at", "actor", "member", "action", "object_type", "object_id", "reason", "grant", "request",
    "told_from", "text_digest", "removed_through", "removed_hash", "hash",
)  # fmt: skip


class AuditQuery(Fields):
    """Fields of the query string: filters, and the page."""

    action: str = ""
    actor: str = ""
    member: str = ""
    object: str = ""
    before: str = ""


@never_cache
@require_safe
def audit_page(request: HttpRequest) -> HttpResponse:
    """Show the newest rows, or those before ``?before=``, with names as they are now."""
    staff_with(request, VIEW_AUDIT)
    query = AuditQuery.read(parsing.query_fields(request))
    found = _filtered(query)
    if query.before:
        if not (query.before.isascii() and query.before.isdigit() and len(query.before) < 19):
            raise refusals.malformed(_("The page is named by a number."))
        found = found.filter(seq__lt=int(query.before))
    rows = list(found.order_by("-seq")[: ROWS_SHOWN + 1])
    shown = rows[:ROWS_SHOWN]
    names = names_of({key for row in shown for key in (row.actor, row.member) if key})
    context = {
        **admin.site.each_context(request),
        "title": _("Audit"),
        "rows": [(row, names.get(row.actor, ""), names.get(row.member, "")) for row in shown],
        "older": shown[-1].seq if len(rows) > ROWS_SHOWN else None,
        "query": query,
        "actions": ACTIONS,
    }
    return render(request, "admin/moderation/audit.html", context)


@never_cache
@require_POST
def audit_text(request: HttpRequest, seq: int) -> HttpResponse:
    """Show what staff typed for a row, after this look is stored. 404 if there is none."""
    staff = staff_with(request, VIEW_AUDIT)
    text = AuditText.objects.filter(seq=seq).select_related("about").first()
    if text is None:
        raise refusals.not_found()
    audit.record("audit.text", actor=staff, member=text.about, object_type="audit", object_id=seq)
    context = {**admin.site.each_context(request), "title": _("Row %(seq)s") % {"seq": seq}, "text": text}
    return render(request, "admin/moderation/audit_text.html", context)


@never_cache
@require_POST
def export_audit(request: HttpRequest) -> StreamingHttpResponse:
    """Send all rows as JSON lines, oldest first; the export itself is a row."""
    staff = staff_with(request, VIEW_AUDIT, EXPORT_DATA)
    through = audit.record("audit.export", actor=staff, object_type="audit").seq
    response = StreamingHttpResponse(_chunks(through), content_type="application/jsonl")
    response["Content-Disposition"] = 'attachment; filename="audit.jsonl"'
    return response


async def _chunks(through: int) -> AsyncIterator[str]:
    last = 0
    while batch := await run_db(_batch, last, through):
        yield "".join(
            json.dumps({name: _json(getattr(row, name)) for name in EXPORTED}) + "\n" for row in batch
        )
        last = batch[-1].seq


def _batch(last: int, through: int) -> list[AuditEvent]:
    return list(AuditEvent.objects.filter(seq__gt=last, seq__lte=through).order_by("seq")[:EXPORTED_AT_ONCE])


def _json(value: Any) -> Any:
    return value if value is None or isinstance(value, int | str) else str(audit.canonical(value))


def _filtered(query: AuditQuery) -> QuerySet[AuditEvent]:
    found = AuditEvent.objects.all()
    if query.action:
        found = found.filter(action=query.action)
    if query.object:
        found = found.filter(object_id=query.object.strip())
    for column, name in (("actor", query.actor), ("member", query.member)):
        if name.strip():
            user = User.objects.filter(folded_name=fold_case(name.strip())).first()
            found = found.filter(**{column: user.audit_id}) if user else found.none()
    return found


def names_of(keys: set[uuid.UUID]) -> dict[uuid.UUID | None, str]:
    """Return the user names that stand behind these ``audit_id`` values. An erased account has none."""
    return dict(User.objects.filter(audit_id__in=keys).values_list("audit_id", "username"))


# The actions that are recorded, for the filter.
ACTIONS = (
    "look", "search", "grant.open", "grant.extend", "grant.end", "consent.give", "consent.end",
    "report", "item.claim", "item.release", "item.note", "item.escalated", "item.dismissed",
    "item.actioned", "item.upheld", "item.overturned", "decision.hide", "decision.lock",
    "decision.stop", "decision.warn", "decision.suspend", "decision.end", "warning.acknowledge", "appeal",
    "watch", "queue.export", "member.reset_link", "member.one_time_link", "member.link_used", "member.add",
    "member.change", "member.erase", "group.change", "terminal.open", "policy.change", "audit.text",
    "audit.export", "audit.checkpoint",
)  # fmt: skip
