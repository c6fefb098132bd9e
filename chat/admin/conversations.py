"""List of conversations, and the transcript of each."""

import json
from typing import Any

from django.contrib import admin
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from accounts.models import User, fold_case
from chat.access import access_as_staff, may_look, may_watch, parse_id
from chat.admin.lists import LIST_BOUND, DateFilter, ReadOnlyAdmin
from chat.admin.transcripts import newest_hit, transcript_of
from chat.models import Conversation, Message, Run
from chat.search.found import PREFIX_LENGTH
from chat.search.terms import phrases_of
from chat.text import SEARCH_MAX


class AgentFilter(admin.SimpleListFilter):
    title = _("agent")
    parameter_name = "agent"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        from chat.agent.agents import catalog  # takes 1 s, and every command imports this module

        return [(agent.name, agent.name) for agent in catalog.all_agents()]

    def has_output(self) -> bool:
        return True  # also with one agent: old conversations may have others

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(agent=self.value()) if self.value() else queryset


class AnswerFilter(admin.SimpleListFilter):
    """Filter by run status: the conversations of the newest LIST_BOUND runs with that status."""

    title = _("status of an answer")
    parameter_name = "answer"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(Run.Status.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() not in Run.Status.values:
            return queryset
        runs = Run.objects.filter(status=self.value()).order_by("-created_at", "-id")
        return queryset.filter(pk__in=runs.values("conversation")[:LIST_BOUND])


class FeedbackFilter(admin.SimpleListFilter):
    """Filter by feedback: the conversations or runs of the newest LIST_BOUND replies with it."""

    title = _("feedback")
    parameter_name = "feedback"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(str(value), label) for value, label in Message.Feedback.choices]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() not in {str(value) for value in Message.Feedback.values}:
            return queryset
        # feedback_at is in the query so that the partial index serves it
        rated = Message.objects.exclude(feedback_at=None).filter(feedback=self.value())
        newest = rated.order_by("-feedback_at")[:LIST_BOUND]
        if queryset.model is Conversation:
            return queryset.filter(pk__in=newest.values("conversation"))
        return queryset.filter(reply__in=newest.values("pk"))


class OwnerFilter(admin.SimpleListFilter):
    """The owner whose conversations the list shows, and the way back to all."""

    title = _("owner")
    parameter_name = "owner__id__exact"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        given = request.GET.get("owner__id__exact", "")
        # ValueError: get_filters refuses the request
        owners = User.objects.filter(pk=int(given)) if given else User.objects.none()
        return [(str(owner.pk), owner.username) for owner in owners]

    def has_output(self) -> bool:
        return bool(self.value())  # only where a link has chosen an owner

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        owner = next((key for key, _name in self.lookup_choices), None)
        return queryset.filter(owner=owner) if owner else queryset.none()


class DeletedFilter(admin.SimpleListFilter):
    title = _("deleted")
    parameter_name = "deleted"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("yes", _("Yes"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(deleted_at__isnull=self.value() != "yes")


class LockedFilter(admin.SimpleListFilter):
    title = _("locked")
    parameter_name = "locked"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("yes", _("Yes"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.exclude(locked_at=None) if self.value() == "yes" else queryset


def owners_named(text: str) -> list[int]:
    """Return the ids of at most two users: one with that name, one with that e-mail address."""
    named = Q(folded_name=fold_case(text.strip())) | Q(email=text.strip().lower())
    return list(User.objects.filter(named).values_list("pk", flat=True)[:2])


@admin.register(Conversation)
class ConversationAdmin(ReadOnlyAdmin):
    list_display = (
        "last_activity", "owner_link", "agent", "message_count", "last_status", "feedback", "shown_id",
    )  # fmt: skip
    list_display_links = ("last_activity", "shown_id")
    list_filter = (
        OwnerFilter, AnswerFilter, FeedbackFilter, AgentFilter, LockedFilter, DeletedFilter,
        ("updated_at", DateFilter),
    )  # fmt: skip
    list_select_related = ("owner",)
    ordering = ("-updated_at", "-id")
    sortable_by = ("last_activity",)
    search_fields = ("id",)  # shows the search field; get_search_results does the search
    search_help_text = _("An id, or an owner's name or e-mail address.")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Conversation]:
        counted = Message.objects.filter(conversation=OuterRef("pk")).order_by().values("conversation")
        last = Run.objects.filter(conversation=OuterRef("pk")).order_by("-created_at", "-id")
        rated = Message.objects.filter(conversation=OuterRef("pk"), feedback__isnull=False)
        rated = rated.order_by("-feedback_at")
        return Conversation.objects.annotate(
            messages_in_it=Subquery(counted.annotate(n=Count("pk")).values("n")),
            status_of_last=Subquery(last.values("status")[:1]),
            last_feedback=Subquery(rated.values("feedback")[:1]),
        )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        text = search_term[:SEARCH_MAX].strip()
        if not text:
            return queryset, False
        found = parse_id(text)
        return queryset.filter(Q(pk=found) if found else Q(owner__in=owners_named(text))), False

    @admin.display(description=_("id"))
    def shown_id(self, found: Conversation) -> SafeString:
        return format_html("<code>{}</code>", found.pk)

    @admin.display(description=_("owner"))
    def owner_link(self, found: Conversation) -> SafeString:
        return format_html('<a href="?owner__id__exact={}">{}</a>', found.owner_id, found.owner)

    @admin.display(description=_("last activity"), ordering="updated_at")
    def last_activity(self, found: Conversation) -> Any:
        return found.updated_at

    @admin.display(description=_("messages"))
    def message_count(self, found: Any) -> int:
        return found.messages_in_it or 0

    @admin.display(description=_("last answer"), empty_value="")
    def last_status(self, found: Any) -> SafeString | None:
        return status_html(found.status_of_last)

    @admin.display(description=_("feedback"), empty_value="")
    def feedback(self, found: Any) -> SafeString | None:
        return feedback_html(found.last_feedback)

    def get_urls(self) -> list[URLPattern]:
        """Return only the URLs of the list and the transcript."""
        names = ("chat_conversation_changelist", "chat_conversation_change")
        return [url for url in super().get_urls() if url.name in names]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show the newest branch through ``?message=``, or the messages before ``?before=``.

        Without the right to look, redirect to the page that opens the conversation.
        """
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        found = access_as_staff(request, object_id)
        if not may_look(request, found):
            address = reverse("open_conversation", args=[found.pk])
            query = request.GET.urlencode()
            return HttpResponseRedirect(f"{address}?{query}" if query else address)
        message, before = request.GET.get("message", ""), request.GET.get("before", "")
        phrases = phrases_of(_search_of(request), PREFIX_LENGTH)
        hit = newest_hit(found, phrases) if phrases and not (message or before) else ""
        shown = transcript_of(found, message=message, before=before, hit=hit)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _("Conversation"),
            "conversation": found,
            "transcript": shown,
            "marked": json.dumps([word for phrase in phrases for word in phrase.words]) if phrases else "",
            "may_view_runs": request.user.has_perm("chat.view_run"),
            "may_view_users": request.user.has_perm("accounts.view_user"),
            "may_watch": bool(shown.live) and may_watch(request),
        }
        return TemplateResponse(request, "admin/chat/transcript.html", context)


def feedback_html(value: int | None) -> SafeString | None:
    """Return the mark of the newest feedback."""
    if value is None:
        return None
    color = "completed" if value == Message.Feedback.GOOD else "failed"
    return format_html('<span class="status-label {}">{}</span>', color, Message.Feedback(value).label)


def _search_of(request: HttpRequest) -> str:
    """Return the words of the search that led to this page."""
    text = request.GET.get("q", "")
    return "" if "\x00" in text else text[:SEARCH_MAX]


def status_html(status: str | None) -> SafeString | None:
    if not status:
        return None
    return format_html('<span class="status-label {}">{}</span>', status, Run.Status(status).label)
