"""Views of ``/api/v1``, described by ``/api/v1/openapi.json``."""

from dataclasses import asdict
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from ninja import Field, NinjaAPI, Schema, Status
from ninja.operation import Operation

from chat import actions, doorbell, refusals
from chat.access import access_conversation, access_message, access_run
from chat.agent.agents import catalog
from chat.api import serializers
from chat.http import paging, parsing
from chat.http.asks import AskBody, AskQuery
from chat.http.fields import Fields, Flag, Id
from chat.http.members import member_of, signed_in_user
from chat.http.middleware import response_to
from chat.models import Conversation, Message
from chat.refusals import Refusal
from chat.runs.pending import stop_bell_names
from chat.text import is_visible

TITLE_MAX = 200


STREAM_PATH = "/chat/stream"
_STREAM = {"text/event-stream": {"schema": {"type": "string"}}}
_ASK_BY_POST = {
    "operationId": "chat_stream_ask",
    "summary": "Ask, and follow the reply as it is written",
    "requestBody": {
        "content": {"application/json": {"schema": AskBody.model_json_schema()}},
        "required": True,
    },
    "responses": {
        200: {
            "description": 'Frames to [DONE]; with "stream": false, the whole answer.',
            "content": {**_STREAM, "application/json": {"schema": {"type": "object"}}},
        }
    },
}
_ASK_BY_GET = {
    "operationId": "chat_stream_ask_by_get",
    "summary": "Ask as a browser's EventSource does, with Accept: text/event-stream",
    "parameters": [
        {"name": name, "in": "query", "schema": schema}
        for name, schema in AskQuery.model_json_schema()["properties"].items()
    ],
    "responses": {200: {"description": "Frames to [DONE].", "content": _STREAM}},
}


class Api(NinjaAPI):
    def get_openapi_operation_id(self, operation: Operation) -> str:
        """Return an id that stays the same when this module moves: generated clients use it."""
        return f"chat_api_{operation.view_func.__name__}"

    def get_openapi_schema(self, **kwargs: Any) -> Any:
        """Return the document, with the stream, which is a view of chat/stream."""
        schema = super().get_openapi_schema(**kwargs)
        schema["paths"][STREAM_PATH] = {"post": _ASK_BY_POST, "get": _ASK_BY_GET}
        return schema


api = Api(title="Parley", version="1", docs_url=None, openapi_url="/openapi.json", auth=member_of)


class ConversationOut(Schema):
    id: str
    title: str
    agent: str
    pinned: bool
    head: str | None
    active_run: str | None
    created_at: str
    updated_at: str


class ConversationsOut(Schema):
    items: list[ConversationOut]
    next: str | None = Field(description="The cursor of the next page.")


class MessageOut(Schema):
    id: str
    parent: str | None
    siblings: list[str]
    role: str
    agent: str | None
    text: str
    parts: dict[str, Any]
    run: str | None
    created_at: str


class MessagesOut(Schema):
    items: list[MessageOut]
    next: str | None


class ConversationWithMessagesOut(ConversationOut):
    messages: MessagesOut


class ConversationChange(Fields):
    """Body of PATCH: what is absent or null stays as it is."""

    title: str | None = None
    pinned: Flag = False
    head: Id = None


class UsageOut(Schema):
    input: int
    output: int
    thought: int
    cached: int
    total: int
    calls: int


class RunOut(Schema):
    id: str
    conversation: str
    status: str
    mode: str
    attempt: int
    prompt: str
    reply: str | None
    code: str | None
    usage: UsageOut
    ttft_ms: int | None
    duration_ms: int | None
    deltas: int
    created_at: str
    ended_at: str | None
    called: list[str] = []  # only where tools were called


class AgentOut(Schema):
    name: str
    description: str
    available: bool
    reason: str | None


class AgentsOut(Schema):
    items: list[AgentOut]


@api.exception_handler(Refusal)
def refused(request: HttpRequest, refusal: Refusal) -> HttpResponse:
    return response_to(request, refusal)


@api.get("/conversations", response=ConversationsOut)
def list_conversations(request: HttpRequest, cursor: str | None = None, limit: str | None = None) -> Any:
    own = Conversation.objects.visible_to(signed_in_user(request))
    page, following = paging.page_of_conversations(own, cursor, paging.limit_of(limit))
    return {"items": serializers.conversations(page), "next": following}


@api.get("/conversations/{conversation}", response=ConversationWithMessagesOut)
def read_conversation(
    request: HttpRequest, conversation: str, cursor: str | None = None, limit: str | None = None
) -> Any:
    found = access_conversation(signed_in_user(request), conversation)
    size = paging.limit_of(limit)
    end = found.head_id
    if cursor:
        end = access_message(found, paging.message_cursor(cursor)).pk
    branch = Message.objects.branch(end, limit=size)
    more = branch[0].parent_id if branch else None
    page = {"items": serializers.messages(branch), "next": paging.encode_cursor(str(more)) if more else None}
    return {**_described(found), "messages": page}


def _described(found: Conversation) -> dict[str, Any]:
    return serializers.conversations([found])[0]


@api.patch(
    "/conversations/{conversation}",
    response=ConversationOut,
    openapi_extra={
        "requestBody": {
            "content": {"application/json": {"schema": ConversationChange.model_json_schema()}},
            "required": True,
        }
    },
)
def change_conversation(request: HttpRequest, conversation: str) -> Any:
    change = ConversationChange.read(parsing.json_body(request))
    found = access_conversation(signed_in_user(request), conversation)
    branch = access_message(found, change.head) if change.head else None
    if change.title is not None:
        actions.rename(found, _title(change.title))
    if "pinned" in change.model_fields_set:
        actions.pin(found, change.pinned)
    if branch is not None:
        actions.choose_branch(found, branch)
    found.refresh_from_db()
    return _described(found)


def _title(value: str) -> str:
    title = " ".join(value.split())
    if not is_visible(title):
        raise refusals.unprocessable("blank", _("A title needs at least one letter."))
    if len(title) > TITLE_MAX:
        raise refusals.unprocessable(
            "too_long", _("A title has at most %(limit)s characters.") % {"limit": TITLE_MAX}
        )
    return title


@api.delete("/conversations/{conversation}", response={204: None})
def delete_conversation(request: HttpRequest, conversation: str) -> Any:
    found = access_conversation(signed_in_user(request), conversation)
    for run_id in actions.mark_deleted(found):
        doorbell.ring_soon(stop_bell_names(run_id))
    return Status(204, None)


@api.get("/runs/{run}", response=RunOut, exclude_unset=True)
def read_run(request: HttpRequest, run: str) -> Any:
    return serializers.run_json(access_run(signed_in_user(request), run))


@api.get("/agents", response=AgentsOut)
def list_agents(request: HttpRequest) -> Any:
    return {"items": [asdict(agent) for agent in catalog.all_agents()]}


def urls() -> Any:
    """Return the routes, without a redirect to the sign-in page (they answer 401), and never cached."""
    patterns, app, name = api.urls
    for pattern in patterns:
        assert pattern.callback
        pattern.callback = login_not_required(never_cache(pattern.callback))
    return patterns, app, name
