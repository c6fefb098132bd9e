"""Lists of runs and processes."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from chat.access import open_transcript, parse_id
from chat.admin.conversations import owners_named, status_html
from chat.admin.lists import SEARCH_MAX, DateFilter, ReadOnlyAdmin
from chat.endings import SENTENCES
from chat.models import Process, Run
from chat.refusals import Refusal


class StatusFilter(admin.SimpleListFilter):
    title = _("status")
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(Run.Status.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(status=self.value()) if self.value() else queryset


class CodeFilter(admin.SimpleListFilter):
    title = _("code")
    parameter_name = "code"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(code, code) for code in SENTENCES if code != "stopped"]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        # ~Q: the index has only runs with a code, and SQLite uses it only if the query says so
        return queryset.filter(~Q(code=""), code=self.value()) if self.value() else queryset


FAILURE = (
    _("Why the agent failed"),
    {"fields": ("failure_kind", "failure_place", "failure_message", "failure_traceback")},
)


@admin.register(Run)
class RunAdmin(ReadOnlyAdmin):
    list_display = (
        "started",
        "owner",
        "conversation_link",
        "shown_status",
        "code",
        "first_token",
        "duration",
        "deltas",
        "size",
        "tokens",
    )
    list_filter = (StatusFilter, CodeFilter, ("created_at", DateFilter))
    list_select_related = ("owner", "conversation")
    linked_lookups = ("owner__id__exact", "conversation__id__exact")
    ordering = ("-created_at", "-id")
    search_fields = ("id",)
    search_help_text = _("The id of a run or a conversation, or an owner's name or e-mail address.")
    fieldsets = (
        (None, {"fields": ("id", "owner", "conversation_link", "mode", "shown_status", "code", "finish")}),
        (
            _("Timings"),
            {
                "fields": (
                    "started",
                    "ended_at",
                    "stop_requested_at",
                    "first_token",
                    "duration",
                    "deltas",
                    "size",
                    "last_seq",
                )
            },
        ),
        (
            _("Tokens"),
            {
                "fields": (
                    "usage_input",
                    "usage_output",
                    "usage_thought",
                    "usage_cached",
                    "usage_total",
                    "usage_calls",
                )
            },
        ),
        (_("Execution"), {"fields": ("process", "attempt", "epoch", "invocation_id", "client_id")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        return Run.objects.reviewable().defer("state_after", "failure")

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Run | None:
        """Return the run. Hide its failure's message from staff who may not open the transcript."""
        run = super().get_object(request, object_id, from_field)
        if run is not None and run.failure and not _may_open_transcript(request, run):
            run.failure = {**run.failure, "message": _("Only staff who may read the conversation see it.")}
        return run

    def get_fieldsets(self, request: HttpRequest, obj: Run | None = None) -> Any:
        first, *others = super().get_fieldsets(request, obj)
        return [first, *([FAILURE] if obj is not None and obj.failure else []), *others]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        text = search_term[:SEARCH_MAX].strip()
        if not text:
            return queryset, False
        found_id = parse_id(text)
        found = Q(pk=found_id) | Q(conversation=found_id) if found_id else Q(owner__in=owners_named(text))
        return queryset.filter(found), False

    @admin.display(description=_("started"), ordering="created_at")
    def started(self, run: Run) -> Any:
        return run.created_at

    @admin.display(description=_("conversation"))
    def conversation_link(self, run: Run) -> SafeString:
        address = reverse("admin:chat_conversation_change", args=[run.conversation_id])
        return format_html('<a href="{}"><bdi>{}</bdi></a>', address, run.conversation.title)

    @admin.display(description=_("status"), ordering="status")
    def shown_status(self, run: Run) -> SafeString | None:
        return status_html(run.status)

    @admin.display(description=_("first text"), ordering="ttft_ms", empty_value="")
    def first_token(self, run: Run) -> str | None:
        return _seconds(run.ttft_ms)

    @admin.display(description=_("duration"), ordering="duration_ms", empty_value="")
    def duration(self, run: Run) -> str | None:
        return _seconds(run.duration_ms)

    @admin.display(description=_("size"), ordering="bytes")
    def size(self, run: Run) -> str:
        return filesizeformat(run.bytes)

    @admin.display(description=_("exception"))
    def failure_kind(self, run: Run) -> str:
        return _failure_field(run, "kind")

    @admin.display(description=_("place"), empty_value="")
    def failure_place(self, run: Run) -> str:
        return _failure_field(run, "place")

    @admin.display(description=_("message"))
    def failure_message(self, run: Run) -> SafeString:
        return format_html("<pre>{}</pre>", _failure_field(run, "message"))

    @admin.display(description=_("traceback"))
    def failure_traceback(self, run: Run) -> SafeString:
        return format_html("<pre>{}</pre>", _failure_field(run, "traceback"))

    @admin.display(description=_("tokens"), ordering="usage_total")
    def tokens(self, run: Run) -> int:
        return run.usage_total


def _may_open_transcript(request: HttpRequest, run: Run) -> bool:
    try:
        open_transcript(request, run.conversation_id)
    except (PermissionDenied, Refusal):
        return False
    return True


def _failure_field(run: Run, name: str) -> str:
    return str((run.failure or {}).get(name, ""))


def _seconds(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else str(_("%(seconds).2f s") % {"seconds": milliseconds / 1000})


@admin.register(Process)
class ProcessAdmin(ReadOnlyAdmin):
    list_display = ("host", "pid", "version", "started_at", "heartbeat_at", "draining")
    ordering = ("-heartbeat_at", "-id")
    fields = (
        "id",
        "host",
        "pid",
        "boot_id",
        "version",
        "started_at",
        "heartbeat_at",
        "draining",
        "exclusive",
    )
