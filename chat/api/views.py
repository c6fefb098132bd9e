"""Views of ``/api/v1``, described by ``/api/v1/openapi.json``."""

import uuid
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
from chat.http.members import member_of, signed_in_user
from chat.http.middleware import response_to
from chat.models import Conversation, Message
from chat.refusals import Refusal
from chat.runs.pending import stop_bell_names
from chat.text import is_visible

TITLE_MAX = 200


class Api(NinjaAPI):
    def get_openapi_operation_id(self, operation: Operation) -> str:
        """Return an id that stays the same when this module moves: generated clients use it."""
        return f"chat_api_{operation.view_func.__name__}"


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


class ConversationChange(Schema):
    """Body of PATCH, for the description; chat/http/parsing.py reads it."""

    title: str | None = None
    pinned: bool | None = None
    head: str | None = None


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
    return {**_described(found), "messages": _page_of_messages(end, size)}


def _page_of_messages(end: uuid.UUID | None, size: int) -> dict[str, Any]:
    branch = Message.objects.branch(end, limit=size)
    more = branch[0].parent_id if branch else None
    return {"items": serializers.messages(branch), "next": paging.encode_cursor(str(more)) if more else None}


def _described(found: Conversation) -> dict[str, Any]:
    return serializers.conversations([found])[0]


@api.patch(
    "/conversations/{conversation}",
    response=ConversationOut,
    openapi_extra={
        "requestBody": {
            "content": {"application/json": {"schema": ConversationChange.json_schema()}},
            "required": True,
        }
    },
)
def change_conversation(request: HttpRequest, conversation: str) -> Any:
    fields = parsing.json_body(request)
    parsing.refuse_unknown(fields, {"title", "pinned", "head"})
    title = parsing.text_field(fields, "title")
    pinned = parsing.flag_field(fields, "pinned", False) if "pinned" in fields else None
    head = parsing.id_field(fields, "head")
    found = access_conversation(signed_in_user(request), conversation)
    branch = access_message(found, head) if head else None
    if title is not None:
        actions.rename(found, _title(title))
    if pinned is not None:
        actions.pin(found, pinned)
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
