"""Parsing of the Ask in a request. Unknown fields in its body or query string are refused."""

import uuid
from typing import Any

from django.http import HttpRequest
from django.utils.translation import gettext as _

from chat import refusals
from chat.actions import ABSENT, Ask
from chat.http import parsing
from chat.models import Run

ASK_FIELDS = {
    "query", "message", "prompt", "conversation", "agent", "parent", "stream", "client_id",
}  # fmt: skip
EVENT_SOURCE_FIELDS = {"query", "message", "conversation", "agent", "client_id"}
VIEW = "view"  # the format of the answer, not a field of the ask


def ask_in_body(request: HttpRequest) -> Ask:
    """Return the Ask in the body of a POST. Raises the 415, 413 and 400 refusals."""
    fields = parsing.body_of(request)
    parsing.refuse_unknown(fields, ASK_FIELDS)
    return _ask(fields, _idempotency_key(request, fields))


def wants_html(request: HttpRequest) -> bool:
    """Return whether ``?view=html`` asks for rendered text. Raises the 400 refusal for any other view."""
    views = request.GET.getlist(VIEW)
    if views not in ([], ["html"]):
        raise refusals.malformed(_("view can only be html."))
    return bool(views)


def ask_in_query(request: HttpRequest) -> Ask:
    """Return the Ask in the query string of a GET. Raises the 400 refusal."""
    fields = parsing.query_fields(request)
    fields.pop(VIEW, None)
    parsing.refuse_unknown(fields, EVENT_SOURCE_FIELDS)
    return _ask(fields, _idempotency_key(request, fields))


def _ask(fields: dict[str, Any], client_id: uuid.UUID | None) -> Ask:
    query = _query(fields)
    prompt = parsing.id_field(fields, "prompt")
    conversation = parsing.id_field(fields, "conversation")
    agent = parsing.text_field(fields, "agent") or None
    # null is the root; a missing or empty parent is the end of the active branch.
    parent = parsing.id_field(fields, "parent") if fields.get("parent", "") != "" else ABSENT
    if prompt and (query is not None or "parent" in fields):
        raise refusals.malformed(_("prompt excludes query and parent."))
    if not prompt and query is None:
        raise refusals.malformed(_("query is missing."))
    if agent and (conversation or prompt):
        raise refusals.malformed(_("agent can be chosen only for a new conversation."))
    streams = parsing.flag_field(fields, "stream", True)
    return Ask(
        query=query,
        prompt=prompt,
        conversation=conversation,
        parent=parent,
        agent=agent,
        client_id=client_id,
        mode=Run.Mode.SSE if streams else Run.Mode.NONE,
    )


def _query(fields: dict[str, Any]) -> str | None:
    if fields.get("query") is not None and fields.get("message") is not None:
        raise refusals.malformed(_("query and message are the same field: send one."))
    query = parsing.text_field(fields, "query")
    return query if query is not None else parsing.text_field(fields, "message")


def _idempotency_key(request: HttpRequest, fields: dict[str, Any]) -> uuid.UUID | None:
    header = request.headers.get("Idempotency-Key")
    in_header = parsing.to_id(header, "Idempotency-Key") if header is not None else None
    in_body = parsing.id_field(fields, "client_id")
    if in_header and in_body and in_header != in_body:
        raise refusals.malformed(_("Idempotency-Key and client_id differ."))
    return in_header or in_body
