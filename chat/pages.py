"""The pages: everything on them is there without JavaScript, which only adds the live stream."""

from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from chat import parsing, refusals
from chat.access import access_conversation
from chat.actions import ABSENT, Ask
from chat.agent import catalog
from chat.database import run_db
from chat.models import Conversation, Message, Process, Run
from chat.refusals import Refusal
from chat.runs import lifecycle
from chat.runs.supervisor import supervisor
from chat.views import send

SIDEBAR_LENGTH = 50
PAGE_LENGTH = 100
FORM_FIELDS = {"query", "prompt", "agent", "client_id"}


@never_cache
async def home(request: HttpRequest) -> HttpResponse:
    """A new conversation: the page (GET), and its first question by a plain form (POST)."""
    return await _page(request, None)


@never_cache
async def conversation(request: HttpRequest, conversation: str) -> HttpResponse:
    """One conversation: the page (GET), and the next question by a plain form (POST)."""
    return await _page(request, conversation)


async def _page(request: HttpRequest, conversation: str | None) -> HttpResponse:
    if request.method == "POST":
        return await _ask_by_form(request, conversation)
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
    return await sync_to_async(show)(request, conversation)


async def _ask_by_form(request: HttpRequest, conversation: str | None) -> HttpResponse:
    try:
        run = await run_db(_send_form, request, conversation)
    except Refusal as refusal:
        if refusal.status == 404:
            raise
        return await sync_to_async(show)(request, conversation, refusal)
    supervisor.launch(run.pk)
    response = redirect("chat:conversation", run.conversation_id)
    response.status_code = 303
    return response


def _send_form(request: HttpRequest, conversation: str | None) -> Run:
    found = access_conversation(request.user, conversation) if conversation else None
    fields = parsing.body_of(request)
    parsing.refuse_unknown(fields, FORM_FIELDS)
    prompt = parsing.id_field(fields, "prompt")
    query = parsing.text_field(fields, "query")
    if not prompt and query is None:
        raise refusals.malformed("query is missing.")
    ask = Ask(
        query=None if prompt else query,
        prompt=prompt,
        conversation=found and found.pk,
        parent=ABSENT,
        agent=None if found else parsing.text_field(fields, "agent") or None,
        client_id=parsing.id_field(fields, "client_id"),
    )
    return send(request.user, ask).run


def show(request: HttpRequest, conversation: str | None, refusal: Refusal | None = None) -> HttpResponse:
    """The chat page. With a refusal: what was typed is still there, and a sentence says why."""
    found = access_conversation(request.user, conversation) if conversation else None
    branch = Message.objects.branch(found.head_id, limit=PAGE_LENGTH) if found else []
    run = _run_to_show(found)
    context = {
        "conversation": found,
        "conversations": _sidebar(request.user),
        "messages_shown": branch,
        "older": bool(branch and branch[0].parent_id),
        "run": run,
        "ending": run and not run.is_active and lifecycle.explain(run.status, run.code),
        "agents": catalog.listed(),
        "draft": request.POST.get("query", "") if refusal else "",
        "refusal": refusal,
    }
    response = render(request, "chat/page.html", context, status=refusal.status if refusal else 200)
    return response


def _run_to_show(found: Conversation | None) -> Run | None:
    """The run that is being written, or the newest one of the branch's last question."""
    if found is None:
        return None
    active = found.runs.active().first()
    if active or found.head is None:
        return active
    if found.head.role == Message.Role.ASSISTANT:
        return found.head.run
    return found.head.answers.order_by("-created_at", "-id").first()


def _sidebar(user: Any) -> Any:
    own = Conversation.objects.visible_to(user).only("id", "title", "updated_at")
    return own.order_by("-updated_at", "-id")[:SIDEBAR_LENGTH]


@login_not_required
@require_GET
async def healthz(request: HttpRequest) -> HttpResponse:
    """The process lives."""
    return JsonResponse({"status": "ok"}, headers={"Cache-Control": "no-store"})


@login_not_required
@require_GET
async def readyz(request: HttpRequest) -> HttpResponse:
    """It can take work: not while it drains, nor without its database (503)."""
    if supervisor.draining:
        raise refusals.unavailable("This server is about to restart.")
    await run_db(Process.objects.exists)
    return JsonResponse({"status": "ready"}, headers={"Cache-Control": "no-store"})
