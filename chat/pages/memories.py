"""Page of a member: what agents remember, to see, edit and erase it, and to turn memory off."""

from typing import Any, Literal

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from chat import refusals
from chat.http import paging, parsing
from chat.http.fields import Fields
from chat.http.members import signed_in_user
from chat.memories.models import Memory
from chat.memories.remembering import (
    MEMORY_MAX,
    agents_that_remember,
    edit_memory,
    erase_memories_of,
    erase_memory,
    is_memory_on,
    turn_memory,
)
from chat.refusals import Refusal

SHOWN_OF_AGENT = 10  # on the page of all agents


class MemoriesForm(Fields):
    """Fields of a form about all memories, or those of one agent."""

    do: Literal["on", "off", "erase"]
    agent: str = ""


class MemoryForm(Fields):
    """Fields of a form about one memory."""

    do: Literal["edit", "erase"]
    text: str = ""


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def memories_page(request: HttpRequest) -> HttpResponse:
    """Show what agents remember; a POST turns memory on or off, or erases all of one agent."""
    if request.method != "POST":
        return _page(request)
    member, form = signed_in_user(request), MemoriesForm.read(parsing.body_of(request))
    if form.do == "erase":
        if not form.agent:
            raise refusals.malformed(_("%(name)s is missing.") % {"name": "agent"})
        erase_memories_of(member, form.agent)
    else:
        turn_memory(member, on=form.do == "on")
    return HttpResponseRedirect(reverse("chat:memories"), status=303)


@never_cache
@require_POST
def change_memory(request: HttpRequest, memory: str) -> HttpResponse:
    """Edit or erase one memory, and redirect to the page. A text that is refused is shown again."""
    member, form = signed_in_user(request), MemoryForm.read(parsing.body_of(request))
    if form.do == "erase":
        erase_memory(member, memory)
        return HttpResponseRedirect(reverse("chat:memories"), status=303)
    try:
        found = edit_memory(member, memory, form.text)
    except Refusal as refusal:
        if refusal.status != 422:
            raise
        return _page(request, refusal, refused=memory, typed_text=form.text)
    return HttpResponseRedirect(f"{reverse('chat:memories')}#m-{found.pk}", status=303)


def _page(request: HttpRequest, refusal: Refusal | None = None, **typed: Any) -> HttpResponse:
    member = signed_in_user(request)
    agents, chosen = agents_that_remember(member), request.GET.get("agent")
    own = Memory.objects.visible_to(member.pk)
    sections, older = [], None
    for agent, count in agents:
        if chosen == agent:
            page, following = paging.page_of_newest(
                own.filter(agent=agent), "created_at", request.GET.get("cursor"), paging.DEFAULT_LIMIT
            )
            sections = [{"agent": agent, "count": count, "memories": page}]
            older = urlencode({"agent": agent, "cursor": following}) if following else None
            break
        newest = list(own.filter(agent=agent).order_by("-created_at", "-pk")[:SHOWN_OF_AGENT])
        rest = urlencode({"agent": agent}) if count > len(newest) else None
        sections.append({"agent": agent, "count": count, "memories": newest, "rest": rest})
    context = {
        "sections": sections,
        "older": older,
        "is_on": is_memory_on(member.pk),
        "is_elsewhere": bool(settings.MEMORY_SERVICE_URI),
        "text_max": MEMORY_MAX,
        "refusal": refusal,
        **typed,
    }
    return render(request, "account/memories.html", context, status=refusal.status if refusal else 200)
