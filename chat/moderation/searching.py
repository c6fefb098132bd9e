"""The search in the texts of all members, for staff with a grant to search."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from chat.http import parsing
from chat.http.fields import Fields, Id
from chat.moderation import grants
from chat.moderation.duties import SEARCH_TEXT, staff_with
from chat.moderation.models import GRANT_MINUTES, GrantReason
from chat.refusals import Refusal
from chat.text import SEARCH_MAX


class SearchForm(Fields):
    """Fields of the forms. The words come by POST, so that no log and no history has them."""

    words: str | None = None
    reason: str = ""
    text: str = ""
    extend: Id = None
    end: Id = None


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def search_page(request: HttpRequest) -> HttpResponse:
    """Show the form that opens the search, or the search; a POST opens, extends or ends it, or searches."""
    staff = staff_with(request, "chat.view_conversation", SEARCH_TEXT)
    typed, refusal, found = SearchForm(), None, None
    if request.method == "POST":
        typed = SearchForm.read(parsing.body_of(request))
        try:
            if typed.end:
                grants.end_grant(staff, typed.end)
            elif typed.extend:
                grants.extend_grant(staff, typed.extend)
            elif typed.reason or typed.words is None:
                grants.open_search(staff, typed.reason, typed.text)
            if typed.words is not None:  # also those that were typed when the grant had just ended
                words = typed.words[:SEARCH_MAX].strip()
                found = grants.search_texts(staff, words) if words else []
        except Refusal as refused:
            if refused.status == 404:
                raise
            refusal = refused
        if typed.words is None and refusal is None:
            return HttpResponseRedirect(reverse("search_texts"), status=303)
    status = refusal.status if refusal else 200
    context = {
        **admin.site.each_context(request),
        "title": _("Search the texts"),
        "grant": grants.search_grant_of(staff),
        "found": found,
        "found_max": grants.FOUND_MAX,
        "reasons": GrantReason.choices,
        "typed": typed,
        "refusal": refusal,
        "minutes": GRANT_MINUTES,
        "text_max": grants.TYPED_MAX,
    }
    return render(request, "admin/moderation/search.html", context, status=status)
