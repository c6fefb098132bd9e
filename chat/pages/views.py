"""Views of the chat page and its forms, which work without JavaScript. Scripts add the live stream."""

import uuid
from dataclasses import replace
from typing import Any

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect, render
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from chat import actions, changes, doorbell, events, refusals
from chat.access import access_conversation, access_conversation_now, access_message, access_run
from chat.agent.agents import catalog
from chat.database import run_db
from chat.http import asks, paging, parsing
from chat.http.fields import Fields
from chat.http.members import signed_in_user
from chat.instruments import logs
from chat.models import Conversation, Message, Run, Suggestion
from chat.pages import preferences, transcript
from chat.refusals import Refusal
from chat.runs.pending import stop_bell_names
from chat.runs.stopping import stop_and_wait
from chat.runs.supervisor import supervisor
from chat.socket import consumer
from chat.stream.admission import store_ask
from chat.text import check_text

SIDEBAR_LENGTH = 50
PAGE_LENGTH = 30  # messages; older ones are loaded on scrolling up

# Questions on the empty page, until the site's owner enters others in the admin.
SUGGESTIONS_SHOWN = 4
SUGGESTIONS = (
    gettext_lazy("Explain how a vaccine works to a ten-year-old"),
    gettext_lazy("Plan three days in Lisbon, at an easy pace"),
    gettext_lazy("Write a friendly reminder that an invoice is due"),
    gettext_lazy("What time is it in Tokyo, and when should I call?"),
)


@never_cache
async def chat_page(request: HttpRequest, conversation: str | None = None) -> HttpResponse:
    """Show the page of a conversation, or of a new one (GET), or ask its next question by a form (POST)."""
    if request.method == "POST":
        return await _ask_by_form(request, conversation)
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
    return await sync_to_async(render_page)(request, conversation)


async def _ask_by_form(request: HttpRequest, conversation: str | None) -> HttpResponse:
    try:
        run = await run_db(_send_form, request, conversation)
    except Refusal as refusal:
        if refusal.status == 404:
            raise
        return await sync_to_async(render_page)(request, conversation, refusal)
    supervisor.launch(run.pk)
    logs.set_request_run(run.pk)
    return _see_other("chat:conversation", run.conversation_id)


def _see_other(*route: Any) -> HttpResponse:
    response = redirect(*route)
    response.status_code = 303  # the browser follows by GET
    return response


class StopForm(Fields):
    """Fields of the form that stops a run."""

    run: str = ""


@never_cache
@require_POST
async def stop(request: HttpRequest, conversation: str) -> HttpResponse:
    """Stop the run that a form names. Redirect to its page when it has ended, or after STOP_SECONDS."""
    run = await run_db(_request_stop, request, conversation)
    await stop_and_wait(run)
    return _see_other("chat:conversation", run.conversation_id)


def _request_stop(request: HttpRequest, conversation: str) -> Run:
    member = signed_in_user(request)
    found = access_conversation(member, conversation)
    run = access_run(member, StopForm.read(parsing.body_of(request)).run)
    if run.conversation_id != found.pk:
        raise refusals.not_found()
    return actions.request_stop(run)


@never_cache
@require_POST
def delete(request: HttpRequest, conversation: str) -> HttpResponse:
    """Delete the conversation, as a plain form asks, and redirect to the page of a new one."""
    found = access_conversation(signed_in_user(request), conversation)
    for run_id in actions.mark_deleted(found):
        doorbell.ring_soon(stop_bell_names(run_id))
    return _see_other("chat:home")


@never_cache
@require_GET
def message_source(request: HttpRequest, conversation: str, message: str) -> HttpResponse:
    """Return the Markdown source of a message, for the Copy button."""
    found = access_message(access_conversation(signed_in_user(request), conversation), message)
    if found.hidden_at:
        raise refusals.not_found()
    return HttpResponse(found.text, content_type="text/plain; charset=utf-8")


def _send_form(request: HttpRequest, conversation: str | None) -> Run:
    member = signed_in_user(request)
    found = access_conversation(member, conversation) if conversation else None
    ask = asks.ask_in_body(request)
    if ask.conversation and ask.conversation != (found and found.pk):
        raise refusals.not_found()
    return store_ask(member, replace(ask, conversation=found.pk if found else None))


def render_page(
    request: HttpRequest, conversation: str | None, refusal: Refusal | None = None
) -> HttpResponse:
    """Render the chat page. With a refusal, it shows the reason and keeps the typed question.

    ``?before=<message>`` shows the messages before it, ``?list=<cursor>`` older conversations, ``?find=``
    conversations with this text in their title; ``?draft=`` fills the question field.
    """
    member = signed_in_user(request)
    # Read first: the page may then hear of a change twice, but misses none.
    last_change = changes.last_of([member.pk]).get(member.pk, 0)
    found, run = access_conversation_now(member, conversation) if conversation else (None, None)
    before = request.GET.get("before", "") if found else ""
    branch = _branch(found, before)
    active = run if not before else None
    find = request.GET.get("find", "").strip()
    check_text(find)
    conversations = Conversation.objects.visible_to(member).filter(title__icontains=find)
    listed, more = paging.page_of_conversations(
        conversations.with_answering(), request.GET.get("list"), SIDEBAR_LENGTH
    )
    context = {
        "last_change": last_change,
        "conversation": found,
        "conversations": listed,
        "more_conversations": more,
        "find": find,
        "shown_messages": transcript.page_messages(branch, active, may_ask=not active and not before),
        "older": branch[0].pk if branch and branch[0].parent_id else None,
        "is_older": bool(before),
        "live": transcript.live_reply(active) if active else None,
        "agents": [] if found else transcript.agent_choices(catalog.all_agents()),
        "chosen": request.POST.get("agent", ""),
        "is_gone": found and found.agent not in catalog.available_names(),
        "speaker": transcript.display_name(found.agent) if found else "",
        # Idempotency keys of the forms: a form that is sent twice asks once.
        "client_id": uuid.uuid4(),
        "again_id": uuid.uuid4(),
        "draft": request.POST.get("query", "") if refusal else request.GET.get("draft", ""),
        "suggestions": [] if found else Suggestion.objects.all()[:SUGGESTIONS_SHOWN] or SUGGESTIONS,
        "refusal": refusal,
        "settings": preferences.settings_of(request),
        # values that the scripts share; as HTML, text comes as html events
        "event_names": " ".join(sorted(events.EVENT_TYPES - {events.TEXT} | {"html"})),
        "outcome_max": transcript.SHOWN_OUTCOME,
        "signed_out_code": consumer.SIGNED_OUT,
    }
    return render(request, "chat/page.html", context, status=refusal.status if refusal else 200)


def _branch(found: Conversation | None, before: str) -> list[Message]:
    """Return the newest messages of the active branch, or those before ``before``. Raises the 404 refusal."""
    if found is None:
        return []
    end = access_message(found, before).parent_id if before else found.head_id
    return Message.objects.select_related("run").defer("run__state_after").branch(end, limit=PAGE_LENGTH)
