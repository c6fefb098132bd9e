"""Lists of runs and processes."""

from typing import Any

from django.contrib import admin
from django.db.models import F, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from chat.access import may_look, may_watch, parse_id
from chat.admin.conversations import FeedbackFilter, feedback_html, owners_named, status_html
from chat.admin.lists import DateFilter, ReadOnlyAdmin, moment
from chat.endings import SENTENCES
from chat.models import Process, Run
from chat.text import SEARCH_MAX


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


FAILURE_FIELDS = ("kind", "place", "message", "traceback")


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
        "feedback",
    )
    list_filter = (StatusFilter, CodeFilter, FeedbackFilter, ("created_at", DateFilter))
    list_select_related = ("owner", "conversation")
    linked_lookups = ("owner__id__exact", "conversation__id__exact")
    ordering = ("-created_at", "-id")
    search_fields = ("id",)
    search_help_text = _("The id of a run or a conversation, or an owner's name or e-mail address.")
    change_form_template = "admin/chat/run.html"
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "shown_status",
                    "explanation",
                    "conversation_link",
                    "owner_link",
                    "agent",
                    "model",
                    "started",
                )
            },
        ),
        (_("Times"), {"fields": ("first_token", "duration", "ended_at", "stop_requested_at")}),
        (
            _("Answer"),
            {"fields": ("ending", "size", "deltas", "last_event", "tokens_in", "tokens_out", "model_calls")},
        ),
        (
            _("Execution"),
            {"fields": ("id", "process", "attempts", "take_overs", "transport", "invocation", "request_key")},
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        runs = Run.objects.reviewable().defer("state_after", "failure")
        return runs.annotate(rating=F("reply__feedback"))

    @admin.display(description=_("feedback"), empty_value="")
    def feedback(self, found: Any) -> SafeString | None:
        return feedback_html(found.rating)

    def get_list_display(self, request: HttpRequest) -> Any:
        """Add a link to each running reply for staff who may watch it."""
        shows_running = request.GET.get(StatusFilter.parameter_name) == Run.Status.RUNNING
        links = ("watch_link",) if shows_running and may_watch(request) else ()
        return (*self.list_display, *links)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        context = {"may_watch": may_watch(request), **(extra_context or {})}
        return super().change_view(request, object_id, form_url, context)

    @admin.display(description=_("live"))
    def watch_link(self, run: Run) -> SafeString | None:
        if not run.is_active:
            return None
        return format_html('<a href="{}">{}</a>', reverse("watch", args=[run.pk]), _("watch"))

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Run | None:
        """Return the run. Hide its failure, which may quote the conversation, without the right to look."""
        run = super().get_object(request, object_id, from_field)
        if run is not None:
            is_page = request.resolver_match and request.resolver_match.url_name == "chat_run_change"
            run.is_hidden = bool(run.failure) and not (is_page and may_look(request, run.conversation))
            if run.is_hidden:
                run.failure = None
        return run

    def get_fieldsets(self, request: HttpRequest, obj: Run | None = None) -> Any:
        first, *others = super().get_fieldsets(request, obj)
        known = [f"failure_{name}" for name in FAILURE_FIELDS if obj and _failure_field(obj, name)]
        failure = (_("Why it failed"), {"fields": known, "classes": ["wide"]})
        hidden = (_("Why it failed"), {"fields": ["failure_is_hidden"]})
        parts = [failure] if known else [hidden] if obj and getattr(obj, "is_hidden", False) else []
        return [first, *parts, *others]

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
    def started(self, run: Run) -> str:
        return moment(run.created_at)

    @admin.display(description=_("conversation"))
    def conversation_link(self, run: Run) -> SafeString:
        address = reverse("admin:chat_conversation_change", args=[run.conversation_id])
        return format_html('<a href="{}"><code>{}</code></a>', address, run.conversation_id)

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

    @admin.display(description=_("owner"))
    def owner_link(self, run: Run) -> SafeString:
        address = reverse("admin:chat_conversation_changelist")
        return format_html('<a href="{}?owner__id__exact={}">{}</a>', address, run.owner_id, run.owner)

    @admin.display(description=_("agent"))
    def agent(self, run: Run) -> str:
        return run.conversation.agent

    @admin.display(description=_("what its member reads"), empty_value="-")
    def explanation(self, run: Run) -> Any:
        return SENTENCES[run.code][0] if run.code in SENTENCES else None

    @admin.display(description=_("code or finish"), empty_value="-")
    def ending(self, run: Run) -> str:
        return run.code or run.finish

    @admin.display(description=_("last event"))
    def last_event(self, run: Run) -> int:
        return run.last_seq

    @admin.display(description=_("tokens in"))
    def tokens_in(self, run: Run) -> str:
        counts = {"count": run.usage_input, "cached": run.usage_cached}
        return _("%(count)s, of which %(cached)s from a cache") % counts

    @admin.display(description=_("tokens out"))
    def tokens_out(self, run: Run) -> str:
        return _("%(count)s, and %(thought)s of thoughts") % {
            "count": run.usage_output,
            "thought": run.usage_thought,
        }

    @admin.display(description=_("calls of the model"))
    def model_calls(self, run: Run) -> int:
        return run.usage_calls

    @admin.display(description=_("attempts"))
    def attempts(self, run: Run) -> int:
        return run.attempt

    @admin.display(description=_("claims, take-overs and hand-overs"))
    def take_overs(self, run: Run) -> int:
        return run.epoch

    @admin.display(description=_("how the model sends"))
    def transport(self, run: Run) -> str:
        words = {
            Run.Mode.SSE.value: _("as a stream"),
            Run.Mode.NONE.value: _("as a whole"),
            Run.Mode.LIVE.value: _("by voice"),
        }
        return str(words[run.mode])

    @admin.display(description=_("ADK's invocation"), empty_value="-")
    def invocation(self, run: Run) -> str:
        return run.invocation_id

    @admin.display(description=_("idempotency key"), empty_value="-")
    def request_key(self, run: Run) -> Any:
        return run.client_id

    @admin.display(description=_("error"))
    def failure_is_hidden(self, run: Run) -> SafeString:
        address = reverse("open_conversation", args=[run.conversation_id])
        sentence = _("It may quote the conversation. Open that first, then this page again.")
        return format_html('<a href="{}">{}</a>', address, sentence)

    @admin.display(description=_("error"))
    def failure_kind(self, run: Run) -> str:
        return _failure_field(run, "kind")

    @admin.display(description=_("place"))
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


def _failure_field(run: Run, name: str) -> str:
    return str((run.failure or {}).get(name, ""))


def _seconds(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else str(_("%(seconds).2f s") % {"seconds": milliseconds / 1000})


@admin.register(Process)
class ProcessAdmin(ReadOnlyAdmin):
    change_form_template = "admin/chat/facts.html"
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
