"""The page of one conversation's name, pin, archive and deletion, in place of the menu without JavaScript."""

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from chat import actions
from chat.access import access_conversation
from chat.http import parsing
from chat.http.fields import Fields, Flag
from chat.http.members import signed_in_user
from chat.refusals import Refusal


class ManageForm(Fields):
    """Fields of the forms of the page: each form has one of them."""

    title: str | None = None
    pinned: Flag | None = None
    archived: Flag | None = None


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def manage(request: HttpRequest, conversation: str) -> HttpResponse:
    """Show the page, or change the conversation as a form of it asks, and redirect to the conversation."""
    found = access_conversation(signed_in_user(request), conversation)
    if request.method != "POST":
        return render(request, "chat/manage.html", {"conversation": found})
    change = ManageForm.read(parsing.body_of(request))
    try:
        if change.title is not None:
            actions.rename(found, change.title)
    except Refusal as refusal:
        context = {"conversation": found, "refusal": refusal, "typed": change.title}
        return render(request, "chat/manage.html", context, status=refusal.status)
    if change.pinned is not None:
        actions.pin(found, change.pinned)
    if change.archived is not None:
        actions.archive(found, change.archived)
    return HttpResponseRedirect(reverse("chat:conversation", args=[found.pk]), status=303)
