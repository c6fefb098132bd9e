"""The Ask in a request: its fields, in a body or in a query string."""

from typing import Any, Literal

from django.http import HttpRequest
from django.utils.translation import gettext as _
from pydantic import Field

from chat import refusals
from chat.access import parse_id
from chat.actions import ABSENT, Ask, IfBusy
from chat.http import parsing
from chat.http.fields import Fields, Flag, Id, IdOrEmpty
from chat.models import Run
from chat.waiting import Answer


class AskQuery(Fields):
    """Fields of an ask by GET, as a browser's EventSource sends it."""

    query: str | None = Field(None, description="The question.")
    message: str | None = Field(None, description="Another name of query.")
    conversation: Id = Field(None, description="Absent for a new conversation.")
    agent: str | None = Field(None, description="The agent of a new conversation; the default one if absent.")
    client_id: Id = Field(None, description="An idempotency key, as in the header Idempotency-Key.")


class AnswerFields(Fields):
    """A decision about a request that waits for a person."""

    id: Id
    decision: Literal["approve", "reject", "answer"]
    payload: Any = Field(None, description="What the person adds or answers.")


class AskBody(AskQuery):
    """Fields of an ask by POST."""

    prompt: Id = Field(None, description="An old question to answer again; excludes query and parent.")
    files: list[Id] | None = Field(
        None, description="Ids of own uploads, at most ten; only with query, or in its place."
    )
    answers: list[AnswerFields] | None = Field(
        None,
        description="Decisions about open requests; needs conversation, excludes what a question has.",
    )
    parent: IdOrEmpty = Field(
        "", description="The message before the question: null is the root, absent the end of the branch."
    )
    if_busy: Literal["refuse", "queue", "interrupt"] = Field(
        "refuse",
        description="For a query whose conversation is answering: refuse it, queue it, or stop the answer.",
    )
    stream: Flag = Field(True, description="Whether to stream the reply, or to answer once with all of it.")


def ask_in_body(request: HttpRequest) -> Ask:
    """Return the Ask in the body of a POST. Raises the 415, 413 and 400 refusals."""
    return _ask(request, AskBody.read(parsing.body_of(request)))


def ask_in_query(request: HttpRequest) -> Ask:
    """Return the Ask in the query string of a GET. Raises the 400 refusal."""
    fields = parsing.query_fields(request)
    fields.pop("view", None)  # the format of the answer
    AskQuery.read(fields)  # refuses what only a POST may hold
    return _ask(request, AskBody.read(fields))


def _ask(request: HttpRequest, body: AskBody) -> Ask:
    header = request.headers.get("Idempotency-Key")
    key = None if header is None else parse_id(header.lower())
    if header is not None and key is None:
        raise refusals.malformed(_("%(name)s must be a UUID.") % {"name": "Idempotency-Key"})
    if key and body.client_id and key != body.client_id:
        raise refusals.malformed(_("Idempotency-Key and client_id differ."))
    if body.query is not None and body.message is not None:
        raise refusals.malformed(_("query and message are the same field: send one."))
    query = body.query if body.query is not None else body.message
    if query is None and body.files:
        query = ""
    _check_combination(body, query)
    return Ask(
        query=query,
        prompt=body.prompt,
        conversation=body.conversation,
        files=tuple(each for each in body.files or () if each),
        answers=tuple(Answer(each.id, each.decision, each.payload) for each in body.answers or () if each.id),
        parent=ABSENT if body.parent == "" else body.parent,
        agent=body.agent or None,
        client_id=key or body.client_id,
        if_busy=IfBusy(body.if_busy),
        mode=Run.Mode.SSE if body.stream else Run.Mode.NONE,
    )


def _check_combination(body: AskBody, query: str | None) -> None:
    """Raise the 400 refusal for fields that exclude or need each other."""
    if body.prompt and (query is not None or body.parent != ""):
        raise refusals.malformed(_("prompt excludes query, files and parent."))
    if body.answers is not None:
        if query is not None or body.prompt or body.parent != "" or not body.conversation:
            raise refusals.malformed(
                _("answers needs conversation, and excludes query, files, prompt and parent.")
            )
        named = {each.id for each in body.answers if each.id}
        if not named or len(named) < len(body.answers):
            raise refusals.malformed(_("answers must name each request once."))
    elif not body.prompt and query is None:
        raise refusals.malformed(_("query is missing."))
    if body.agent and (body.conversation or body.prompt):
        raise refusals.malformed(_("agent can be chosen only for a new conversation."))
    if body.if_busy != "refuse" and (query is None or body.parent != ""):
        raise refusals.malformed(_("if_busy needs query, and excludes parent."))
