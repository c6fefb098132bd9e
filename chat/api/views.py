"""Views of ``/api/v1``, described by ``/api/v1/openapi.json``."""

from typing import Any, Literal

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from ninja import Field, NinjaAPI, Schema, Status
from ninja.operation import Operation

from chat import actions, approvers, doorbell, queue, refusals, waiting
from chat.access import access_conversation, access_message, access_reply, access_run, parse_id
from chat.agent.agents import catalog
from chat.api import export, files, memories, serializers
from chat.files.artifacts import artifact_json, versions_on_branch
from chat.http import paging, parsing
from chat.http.asks import AskBody, AskQuery
from chat.http.decisions import store_decision
from chat.http.feedback import FeedbackBody, feedback_in_json
from chat.http.fields import Fields, Flag, Id
from chat.http.members import member_of, signed_in_user
from chat.http.middleware import response_to
from chat.models import Conversation, Message
from chat.refusals import Refusal
from chat.runs.pending import stop_bell_names
from chat.runs.supervisor import supervisor
from chat.search.found import own_hits
from chat.text import check_search
from chat.waiting import Answer

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
        },
        202: {
            "description": "Queued, as if_busy says.",
            "content": {"application/json": {"schema": {"type": "object"}}},
        },
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
api.add_router("", files.files_router)
api.add_router("", memories.memories_router)


class ModeratedOut(Schema):
    reason: str = Field(description="Its code: one of harmful, self_harm, illegal, privacy, wrong, other.")
    words: str = Field(description="The moderator's own, for the owner; may be empty.")
    at: str


class ConversationOut(Schema):
    id: str
    title: str
    agent: str
    pinned: bool
    archived: bool
    locked: ModeratedOut | None = Field(description="Set while a moderator has locked the conversation.")
    head: str | None
    active_run: str | None
    created_at: str
    updated_at: str
    is_waiting: bool = Field(
        description="Whether a request at the end of the active branch waits for a person."
    )


class ConversationsOut(Schema):
    items: list[ConversationOut]
    next: str | None = Field(description="The cursor of the next page.")


class FeedbackOut(Schema):
    value: int | None
    reasons: list[str]
    text: str


class MessageOut(Schema):
    id: str
    parent: str | None
    siblings: list[str]
    role: str
    agent: str | None
    text: str
    parts: dict[str, Any]
    hidden: ModeratedOut | None = Field(
        description="Set while a moderator has hidden it: then it has no text."
    )
    run: str | None
    feedback: FeedbackOut | None
    created_at: str


class MessagesOut(Schema):
    items: list[MessageOut]
    next: str | None


class RequestOut(Schema):
    id: str
    kind: str
    call: str
    tool: str
    args: dict[str, Any]
    hint: str
    request_schema: dict[str, Any] | None = Field(None, alias="schema")
    payload: Any = None
    approvers: str | None
    expires_at: str
    job: bool = False
    state: str


class ApproversRequestOut(Schema):
    id: str
    kind: str
    tool: str
    args: dict[str, Any]
    hint: str
    request_schema: dict[str, Any] | None = Field(None, alias="schema")
    payload: Any = None
    agent: str
    asked_by: str
    asked_at: str
    expires_at: str
    approvers: str
    job: bool = False


class ApproversRequestsOut(Schema):
    items: list[ApproversRequestOut]


class DecisionBody(Fields):
    """Body of an approver's decision."""

    decision: Literal["approve", "reject", "answer"]
    payload: Any = Field(None, description="What the approver adds or answers.")


class DecisionOut(Schema):
    state: Literal["decided", "started"]


class QueuedFileOut(Schema):
    file: str
    name: str
    mime: str
    size: int
    width: int | None
    height: int | None


class QueuedOut(Schema):
    id: str = Field(description="Also the id of its run, once it was asked.")
    text: str
    why: str = Field(description="Why the queue waits.")
    files: list[QueuedFileOut]


class SentOut(Schema):
    run: str


class ConversationWithMessagesOut(ConversationOut):
    waiting: list[RequestOut]
    queued: list[QueuedOut]
    messages: MessagesOut


class NewConversation(Fields):
    """Body of the POST that opens a conversation without a question."""

    agent: str | None = Field(None, description="Its agent; the default one if absent.")


class ConversationChange(Fields):
    """Body of PATCH: what is absent or null stays as it is."""

    title: str | None = None
    pinned: Flag = False
    archived: Flag = False
    head: Id = None


class ArtifactOut(Schema):
    name: str
    version: int
    file: str
    mime: str
    size: int
    run: str | None
    created_at: str


class ArtifactsOut(Schema):
    items: list[ArtifactOut]


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
    model: str | None
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
    live: bool  # the agent can speak, in a call
    live_reason: str | None  # why it cannot


class AgentsOut(Schema):
    items: list[AgentOut]


class SnippetOut(Schema):
    text: str
    hit: bool


class HitOut(Schema):
    conversation: str
    title: str
    message: str | None
    role: str | None
    snippet: list[SnippetOut]
    created_at: str


class HitsOut(Schema):
    items: list[HitOut]
    next: str | None


@api.exception_handler(Refusal)
def refused(request: HttpRequest, refusal: Refusal) -> HttpResponse:
    return response_to(request, refusal)


@api.get("/conversations", response=ConversationsOut)
def list_conversations(
    request: HttpRequest, cursor: str | None = None, limit: str | None = None, archived: str = "false"
) -> Any:
    if archived not in ("true", "false"):
        raise refusals.malformed(_("%(name)s must be true or false.") % {"name": "archived"})
    page, following = paging.page_of_conversations(
        signed_in_user(request), cursor, paging.limit_of(limit), archived=archived == "true"
    )
    return {"items": serializers.conversations(page), "next": following}


@api.post(
    "/conversations",
    response={201: ConversationOut},
    openapi_extra={
        "requestBody": {
            "content": {"application/json": {"schema": NewConversation.model_json_schema()}},
            "required": True,
        }
    },
)
def create_conversation(request: HttpRequest) -> Any:
    """Open a conversation without a question, to speak in."""
    member = signed_in_user(request)
    body = NewConversation.read(parsing.json_body(request))
    found = actions.open_conversation(member, body.agent, agents=catalog.available_names())
    return Status(201, _described(found))


@api.get("/conversations/{conversation}", response=ConversationWithMessagesOut, by_alias=True)
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
    open_now = [waiting.request_json(request) for request in waiting.open_requests(found)]
    return {
        **_described(found),
        "waiting": open_now,
        "queued": queue.queue_json(found),
        "messages": page,
    }


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
        actions.rename(found, change.title)
    if "pinned" in change.model_fields_set:
        actions.pin(found, change.pinned)
    if "archived" in change.model_fields_set:
        actions.archive(found, change.archived)
    if branch is not None:
        actions.choose_branch(found, branch)
    found.refresh_from_db()
    return _described(found)


@api.delete("/conversations/{conversation}", response={204: None})
def delete_conversation(request: HttpRequest, conversation: str) -> Any:
    found = access_conversation(signed_in_user(request), conversation)
    for run_id in actions.mark_deleted(found):
        doorbell.ring_soon(stop_bell_names(run_id))
    return Status(204, None)


@api.post("/conversations/{conversation}/restore", response=ConversationOut)
def restore_conversation(request: HttpRequest, conversation: str) -> Any:
    return _described(actions.restore(signed_in_user(request), conversation))


class ExportQuery(Fields):
    """Query string of an export."""

    format: Literal["markdown", "json", "zip"] = Field(
        "markdown", description="zip: Markdown with the files beside it."
    )
    all: Flag = Field(False, description="Every branch instead of the active one.")


@api.get(
    "/conversations/{conversation}/export",
    openapi_extra={
        "parameters": [
            {"name": name, "in": "query", "schema": schema}
            for name, schema in ExportQuery.model_json_schema()["properties"].items()
        ]
    },
)
def export_conversation(request: HttpRequest, conversation: str) -> Any:
    asked = ExportQuery.read(parsing.query_fields(request))
    found = access_conversation(signed_in_user(request), conversation)
    return export.download(found, asked.format, every_branch=asked.all)


@api.get("/conversations/{conversation}/artifacts", response=ArtifactsOut)
def list_artifacts(request: HttpRequest, conversation: str) -> Any:
    found = access_conversation(signed_in_user(request), conversation)
    return {"items": [artifact_json(each) for each in versions_on_branch(found)]}


@api.put(
    "/messages/{message}/feedback",
    response=FeedbackOut,
    openapi_extra={
        "requestBody": {
            "content": {"application/json": {"schema": FeedbackBody.model_json_schema()}},
            "required": True,
        }
    },
)
def put_feedback(request: HttpRequest, message: str) -> Any:
    found = feedback_in_json(request)
    actions.give_feedback(
        access_reply(signed_in_user(request), message), found.value, found.reasons, found.text
    )
    return found


@api.get("/runs/{run}", response=RunOut, exclude_unset=True)
def read_run(request: HttpRequest, run: str) -> Any:
    return serializers.run_json(access_run(signed_in_user(request), run))


@api.get("/requests", response=ApproversRequestsOut, by_alias=True)
def list_requests(request: HttpRequest) -> Any:
    found = approvers.look_at_requests(signed_in_user(request))
    return {"items": [approvers.approver_json(each) for each in found]}


@api.post(
    "/requests/{request_id}/decision",
    response=DecisionOut,
    openapi_extra={
        "requestBody": {
            "content": {"application/json": {"schema": DecisionBody.model_json_schema()}},
            "required": True,
        }
    },
)
def decide_request(request: HttpRequest, request_id: str) -> Any:
    member = signed_in_user(request)
    body = DecisionBody.read(parsing.json_body(request))
    named = parse_id(request_id)
    if named is None:
        raise refusals.not_found()
    run = store_decision(member, Answer(named, body.decision, body.payload))
    if run:
        supervisor.launch_soon(run.pk)
    return {"state": "started" if run else "decided"}


@api.delete("/queued/{queued}", response={204: None})
def withdraw_queued(request: HttpRequest, queued: str) -> Any:
    actions.withdraw(signed_in_user(request), queued)
    return Status(204, None)


@api.post("/queued/{queued}/send", response=SentOut)
def send_now(request: HttpRequest, queued: str) -> Any:
    return {"run": str(actions.send_queued(signed_in_user(request), queued, supervisor.id).pk)}


@api.get("/search", response=HitsOut)
def search(request: HttpRequest, q: str = "", cursor: str | None = None, limit: str | None = None) -> Any:
    member, size = signed_in_user(request), paging.limit_of(limit)
    after = paging.search_cursor(cursor) if cursor else None
    hits, last = own_hits(member, check_search(q), after, size)
    following = paging.encode_cursor(f"{last[0]} {last[1]}") if last else None
    return {"items": [serializers.hit_json(hit) for hit in hits], "next": following}


@api.get("/agents", response=AgentsOut)
def list_agents(request: HttpRequest) -> Any:
    return {"items": [serializers.agent_json(agent) for agent in catalog.all_agents()]}


def urls() -> Any:
    """Return the routes, without a redirect to the sign-in page (they answer 401), and never cached."""
    patterns, app, name = api.urls
    for pattern in patterns:
        assert pattern.callback
        pattern.callback = login_not_required(never_cache(pattern.callback))
    return patterns, app, name
