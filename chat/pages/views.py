"""Views of the chat page and its forms, which work without JavaScript. Scripts add the live stream."""

import uuid
from dataclasses import replace
from functools import partial
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from accounts.models import User
from chat import actions, approvers, changes, doorbell, refusals
from chat.access import (
    access_conversation,
    access_conversation_now,
    access_message,
    access_run,
    parse_id,
    restorable,
)
from chat.actions import Held, IfBusy, Stored
from chat.agent.agents import catalog
from chat.agent.live.voices import reason_without_voice
from chat.files.attaching import FILES_MAX
from chat.files.kinds import INLINE_BYTES
from chat.http import asks, paging, parsing
from chat.http.event_loop import RedirectAfter
from chat.http.feedback import feedback_in_form
from chat.http.fields import Fields
from chat.http.members import signed_in_user
from chat.instruments import logs
from chat.models import Conversation, Message, Run, Suggestion
from chat.pages import preferences, sidebar, transcript
from chat.pages.cards import cards
from chat.pages.excerpt import excerpt_of
from chat.pages.file_cards import cards_of
from chat.pages.queued import queue_context
from chat.pages.standing import standing_of
from chat.refusals import Refusal
from chat.runs.pending import stop_bell_names
from chat.runs.stopping import stop_and_wait
from chat.search.found import own_hits
from chat.socket import consumer
from chat.stream.admission import store_ask
from chat.text import SEARCH_MAX, check_text

HITS_LENGTH = 30

# Questions on the empty page, until the site's owner enters others in the admin.
SUGGESTIONS_SHOWN = 4
SUGGESTIONS = (
    gettext_lazy("Explain how a vaccine works to a ten-year-old"),
    gettext_lazy("Plan three days in Lisbon, at an easy pace"),
    gettext_lazy("Write a friendly reminder that an invoice is due"),
    gettext_lazy("What time is it in Tokyo, and when should I call?"),
)


@never_cache
def chat_page(request: HttpRequest, conversation: str | None = None) -> HttpResponse:
    """Show the page of a conversation, or of a new one (GET), or ask its next question by a form (POST)."""
    if request.method == "POST":
        return _ask_by_form(request, conversation)
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
    return render_page(request, conversation)


@never_cache
@require_POST
def edit(request: HttpRequest, conversation: str, message: str) -> HttpResponse:
    """Ask a question in place of an old one, as its sibling, and redirect to the page of the conversation."""
    return _ask_by_form(request, conversation, edited=message)


def _ask_by_form(request: HttpRequest, conversation: str | None, edited: str = "") -> HttpResponse:
    try:
        stored = _send_form(request, conversation, edited)
    except Refusal as refusal:
        if refusal.status == 404:
            raise
        return render_page(request, conversation, refusal, edited)
    return answer_to_form(stored)


def answer_to_form(stored: Stored) -> HttpResponse:
    """Redirect to the page, which shows the run or what still waits."""
    if isinstance(stored, Held):
        return see_other("chat:conversation", stored.conversation)
    if isinstance(stored, Run):
        logs.set_request_run(stored.pk)
    return see_other("chat:conversation", stored.conversation_id)


def see_other(*route: Any) -> HttpResponse:
    response = redirect(*route)
    response.status_code = 303  # the browser follows by GET
    return response


class BranchForm(Fields):
    """Fields of the form that chooses a version."""

    message: str = ""


@never_cache
@require_POST
def choose_version(request: HttpRequest, conversation: str) -> HttpResponse:
    """Make the newest branch through the message that a form names the active one, and redirect to it."""
    found = access_conversation(signed_in_user(request), conversation)
    message = access_message(found, BranchForm.read(parsing.body_of(request)).message)
    actions.choose_branch(found, message)
    return _to_message(message)


def _to_message(message: Message, query: str = "") -> HttpResponse:
    path = reverse("chat:conversation", args=[message.conversation_id])
    response = HttpResponseRedirect(f"{path}?version={message.pk}{query}#m-{message.pk}")
    response.status_code = 303
    return response


@never_cache
@require_POST
def rate(request: HttpRequest, conversation: str, message: str) -> HttpResponse:
    """Store the feedback that a form holds, and redirect to its message, with a form for reasons if bad."""
    found = access_conversation(signed_in_user(request), conversation)
    reply = access_message(found, message)
    if reply.role != Message.Role.ASSISTANT or reply.hidden_at:
        raise refusals.not_found()
    feedback = feedback_in_form(request)
    actions.give_feedback(reply, feedback.value, feedback.reasons, feedback.text)
    asks_why = feedback.value == -1 and not (feedback.reasons or feedback.text)
    return _to_message(reply, f"&feedback={reply.pk}" if asks_why else "")


class StopForm(Fields):
    """Fields of the form that stops a run."""

    run: str = ""


@never_cache
@require_POST
def stop(request: HttpRequest, conversation: str) -> HttpResponse:
    """Stop the run that a form names. Redirect to its page when it has ended, or after STOP_SECONDS."""
    member = signed_in_user(request)
    found = access_conversation(member, conversation)
    run = access_run(member, StopForm.read(parsing.body_of(request)).run)
    if run.conversation_id != found.pk:
        raise refusals.not_found()
    run = actions.request_stop(run)
    page = reverse("chat:conversation", args=[run.conversation_id])
    return RedirectAfter(page, partial(stop_and_wait, run))


@never_cache
@require_POST
def delete(request: HttpRequest, conversation: str) -> HttpResponse:
    """Delete the conversation, as a plain form asks, and redirect to a new one, which offers to undo it."""
    found = access_conversation(signed_in_user(request), conversation)
    for run_id in actions.mark_deleted(found):
        doorbell.ring_soon(stop_bell_names(run_id))
    response = see_other("chat:home")
    response["Location"] += f"?deleted={found.pk}"
    return response


@never_cache
@require_POST
def undo_deletion(request: HttpRequest, conversation: str) -> HttpResponse:
    """Undo the deletion of the conversation, and redirect to it. Raises the 404 refusal."""
    return see_other("chat:conversation", actions.restore(signed_in_user(request), conversation).pk)


@never_cache
@require_GET
def message_source(request: HttpRequest, conversation: str, message: str) -> HttpResponse:
    """Return the Markdown source of a message, for the Copy button."""
    found = access_message(access_conversation(signed_in_user(request), conversation), message)
    if found.hidden_at:
        raise refusals.not_found()
    return HttpResponse(found.text, content_type="text/plain; charset=utf-8")


def _send_form(request: HttpRequest, conversation: str | None, edited: str) -> Stored:
    member = signed_in_user(request)
    found = access_conversation(member, conversation) if conversation else None
    ask = asks.ask_in_body(request)
    if ask.conversation and ask.conversation != (found and found.pk):
        raise refusals.not_found()
    ask = replace(ask, conversation=found.pk if found else None)
    if found and edited:
        question = access_message(found, edited)
        if question.role != Message.Role.USER:
            raise refusals.not_found()
        if question.hidden_at:
            raise refusals.hidden()
        # Files are left out with scripts only: the form has no fields for them.
        files = tuple(uuid.UUID(card.pk) for card in cards_of(question.parts.get("items", [])))
        ask = replace(ask, prompt=None, files=files, parent=question.parent_id, if_busy=IfBusy.REFUSE)
    return store_ask(member, ask)


def render_page(
    request: HttpRequest, conversation: str | None, refusal: Refusal | None = None, edited: str = ""
) -> HttpResponse:
    """Render the chat page. With a refusal, it shows the reason and keeps the typed question.

    ``?before=<message>`` shows the messages before it, ``?version=<message>`` those from it on,
    ``?edit=<message>`` a form in its place, ``?feedback=<message>`` a form below it; ``?find=`` shows a
    search's results, ``?message=<message>`` the page of one of them; ``?draft=`` fills the question field,
    ``?deleted=<conversation>`` offers to undo a deletion.
    The list of conversations has parameters of its own (chat/pages/sidebar.py).
    """
    member = signed_in_user(request)
    # Read first: the page may then hear of a change twice, but misses none.
    last_change = changes.last_of([member.pk]).get(member.pk, 0)
    found, run = access_conversation_now(member, conversation) if conversation else (None, None)
    standing = standing_of(member, found)
    context = {
        "last_change": last_change,
        "conversation": found,
        "standing": standing,
        "active_run": run,
        **sidebar.list_context(request, member, shown=found),
        "waiting_count": _waiting_count(member),
        **_hits_context(request, member),
        **(
            _messages_context(request, found, run, edited, may_ask=standing.may_ask)
            if found
            else _welcome_context(request, member)
        ),
        # Idempotency keys of the forms: a form that is sent twice asks once.
        "client_id": uuid.uuid4(),
        "again_id": uuid.uuid4(),
        "draft": request.POST.get("query", "") if refusal and not edited else request.GET.get("draft", ""),
        "refusal": refusal,
        "feedback_reasons": Message.Reason.choices,
        "settings": preferences.settings_of(request),
        # its key: Django's {% get_current_timezone %} abbreviates zones of a fixed offset
        "time_zone": str(timezone.get_current_timezone()),
        # values that the scripts share
        "outcome_max": transcript.SHOWN_OUTCOME,
        "fold_lines": transcript.FOLD_LINES,
        "fold_characters": transcript.FOLD_CHARACTERS,
        "signed_out_code": consumer.SIGNED_OUT,
        "deleted_days": f"{settings.DELETED_DAYS:g}",
        "files_max": FILES_MAX,
        "file_max_bytes": settings.FILE_MAX_BYTES,
        "inline_bytes": INLINE_BYTES,
    }
    response = render(request, "chat/page.html", context, status=refusal.status if refusal else 200)
    response.uses_microphone = True  # type: ignore[attr-defined]  # config/policy.py allows it
    return response


def _waiting_count(member: User) -> int | None:
    """Return how many requests wait for the member as an approver; None for a member in no such group."""
    found = approvers.requests_for(member)
    return None if found is None else len(found)


def _messages_context(
    request: HttpRequest, found: Conversation, run: Run | None, edited: str, *, may_ask: bool
) -> dict[str, Any]:
    """Return the context of a conversation's messages; ``run`` is its active one."""
    edited = edited or request.GET.get("edit", "")
    excerpt = excerpt_of(found, request.GET, edited)
    messages, hit = excerpt.messages, excerpt.hit
    # Another branch may be shown while a run is active.
    shown = transcript.page_messages(
        messages, run, may_ask=may_ask, is_end=excerpt.is_end, requests=cards(found)
    )
    is_shown = run and excerpt.is_end and run.prompt_id == found.head_id
    live = transcript.live_reply(run) if run and is_shown else None
    if live:
        shown[-1].heard = live.heard
    return {
        "shown_messages": shown,
        "live": live,
        "no_voice": reason_without_voice(found.agent) or "",
        **queue_context(found),
        "edited": parse_id(edited),
        "edited_text": request.POST.get("query"),
        "rated": parse_id(request.GET.get("feedback", "")),
        "before": request.GET.get("before", ""),
        "older": messages[0].pk if messages and messages[0].parent_id else None,
        "is_older": not excerpt.is_end,
        "target": hit and hit.pk,
        "other_version": hit if excerpt.is_other_branch else None,
        "is_gone": found.agent not in catalog.available_names(),
        "speaker": transcript.display_name(found.agent),
    }


def _welcome_context(request: HttpRequest, member: User) -> dict[str, Any]:
    """Return the context of the page of a new conversation."""
    agents = transcript.agent_choices(catalog.all_agents())
    chosen = _chosen(agents, request.POST.get("agent") or _last_agent(member))
    return {
        "agents": agents,
        "chosen": chosen,
        "deleted": restorable(member, request.GET.get("deleted", "")).first(),
        "speaker": chosen.speaker,
        "no_voice": chosen.no_voice,
        "suggestions": Suggestion.objects.all()[:SUGGESTIONS_SHOWN] or SUGGESTIONS,
    }


def _last_agent(member: User) -> str | None:
    """Return the agent of the member's newest activity."""
    newest = Conversation.objects.visible_to(member).order_by("-updated_at", "-id")
    return newest.values_list("agent", flat=True).first()


def _chosen(agents: list[transcript.AgentChoice], name: str | None) -> transcript.AgentChoice:
    """Return the available agent of this name, or the first one, which is always available."""
    return next((agent for agent in agents if agent.available and agent.name == name), agents[0])


@never_cache
@require_GET
def search_hits(request: HttpRequest) -> HttpResponse:
    """Render the results of a search, for the script that shows them as the user types."""
    return render(request, "chat/_hits.html", _hits_context(request, signed_in_user(request)))


def _hits_context(request: HttpRequest, member: User) -> dict[str, Any]:
    """Return a page of results of ``?find=``, from the place ``?hits=`` on."""
    find, cursor = request.GET.get("find", "").strip()[:SEARCH_MAX], request.GET.get("hits", "")
    check_text(find)
    if not find:
        return {}
    hits, last = own_hits(member, find, paging.search_cursor(cursor) if cursor else None, HITS_LENGTH)
    more = paging.encode_cursor(f"{last[0]} {last[1]}") if last else None
    return {"find": find, "hits": hits, "hits_cursor": cursor, "more_hits": more}
