"""Operations of ``/api/v1`` for a member's reports, the decisions about the member, and appeals."""

from typing import Any

from django.http import HttpRequest
from ninja import Field, Schema, Status

from chat.access import access_reply, required_id
from chat.api.views import api
from chat.events import rfc3339
from chat.http import paging, parsing
from chat.http.fields import Fields
from chat.http.members import signed_in_user
from chat.moderated import ModerationReason, label_of
from chat.moderation import decisions, reports, review
from chat.moderation.decisions import DECISION_TEXT_MAX
from chat.moderation.models import Decision, Report


class ReportBody(Fields):
    """Body of a report."""

    reason: str = Field(json_schema_extra={"enum": [*ModerationReason.values]})
    note: str = Field("", description=f"At most {reports.NOTE_MAX} characters.")


class AppealBody(Fields):
    """Body of an appeal."""

    text: str = Field(description=f"At most {DECISION_TEXT_MAX} characters.")


class ReportedOut(Schema):
    report: str = Field(description="The id of the first report of this message.")


class ReportOut(Schema):
    id: str
    conversation: str
    message: str
    reason: str
    note: str
    reported_at: str
    status: str = Field(description="open, acted or dismissed.")
    decided_at: str | None


class ReportsOut(Schema):
    items: list[ReportOut]
    next: str | None


class AppealOut(Schema):
    text: str
    appealed_at: str
    outcome: str | None = Field(description="upheld or overturned, once it is decided.")
    words: str
    decided_at: str | None


class DecisionOfMemberOut(Schema):
    id: str
    kind: str
    conversation: str | None
    message: str | None
    reason: str
    label: str = Field(description="The sentence of the reason.")
    words: str = Field(description="The moderator's own words.")
    decided_at: str
    until: str | None
    ended_at: str | None = Field(description="When it was taken back or replaced.")
    acknowledged_at: str | None
    appeal: AppealOut | None
    can_appeal: bool


class DecisionsOut(Schema):
    items: list[DecisionOfMemberOut]
    next: str | None


def _with_body(fields: type[Fields]) -> dict[str, Any]:
    """Return what the OpenAPI document says of a body that the operation reads by itself."""
    content = {"application/json": {"schema": fields.model_json_schema()}}
    return {"requestBody": {"content": content, "required": True}}


@api.post(
    "/messages/{message}/report",
    response={200: ReportedOut, 201: ReportedOut},
    openapi_extra=_with_body(ReportBody),
)
def report_message(request: HttpRequest, message: str) -> Any:
    body = ReportBody.read(parsing.json_body(request))
    member = signed_in_user(request)
    first, is_first = reports.report_reply(member, access_reply(member, message), body.reason, body.note)
    return Status(201 if is_first else 200, {"report": str(first.pk)})


@api.get("/reports", response=ReportsOut)
def list_reports(request: HttpRequest, cursor: str | None = None, limit: str | None = None) -> Any:
    own = reports.reports_of(signed_in_user(request))
    page, following = paging.page_of_newest(own, "reported_at", cursor, paging.limit_of(limit))
    return {"items": [_report_json(each) for each in page], "next": following}


@api.get("/decisions", response=DecisionsOut)
def list_decisions(request: HttpRequest, cursor: str | None = None, limit: str | None = None) -> Any:
    own = review.decisions_about(signed_in_user(request))
    page, following = paging.page_of_newest(own, "decided_at", cursor, paging.limit_of(limit))
    return {"items": [_decision_json(each) for each in page], "next": following}


@api.post(
    "/decisions/{decision}/appeal", response={201: DecisionOfMemberOut}, openapi_extra=_with_body(AppealBody)
)
def appeal_against_decision(request: HttpRequest, decision: str) -> Any:
    body = AppealBody.read(parsing.json_body(request))
    stored = review.appeal(signed_in_user(request), required_id(decision), body.text)
    return Status(201, _decision_json(stored.decision))


@api.post("/decisions/{decision}/acknowledge", response=DecisionOfMemberOut)
def acknowledge_warning(request: HttpRequest, decision: str) -> Any:
    return _decision_json(decisions.acknowledge(signed_in_user(request), required_id(decision)))


def _report_json(report: Report) -> dict[str, Any]:
    return {
        "id": str(report.pk),
        "conversation": str(report.item.conversation_id),
        "message": str(report.item.message_id),
        "reason": report.reason,
        "note": report.note,
        "reported_at": rfc3339(report.reported_at),
        "status": reports.status_of(report),
        "decided_at": rfc3339(report.item.decided_at),
    }


def _decision_json(decision: Decision) -> dict[str, Any]:
    appeal = review.appeal_against(decision)
    return {
        "id": str(decision.pk),
        "kind": decision.kind,
        "conversation": str(decision.conversation_id) if decision.conversation_id else None,
        "message": str(decision.message_id) if decision.message_id else None,
        "reason": decision.reason,
        "label": label_of(decision.reason),
        "words": decision.words,
        "decided_at": rfc3339(decision.decided_at),
        "until": rfc3339(decision.until),
        "ended_at": rfc3339(decision.ended_at),
        "acknowledged_at": rfc3339(decision.acknowledged_at),
        "appeal": appeal
        and {
            "text": appeal.text,
            "appealed_at": rfc3339(appeal.appealed_at),
            "outcome": appeal.outcome or None,
            "words": appeal.words,
            "decided_at": rfc3339(appeal.decided_at),
        },
        "can_appeal": review.can_appeal(decision),
    }
