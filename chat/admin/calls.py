"""List of calls: when and how long, with nothing of what was said."""

from typing import Any

from django.contrib import admin
from django.db.models import Exists, OuterRef
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from chat.admin.lists import DateFilter, ReadOnlyAdmin, moment
from chat.calls.models import LiveCall
from chat.models import Conversation


@admin.register(LiveCall)
class CallAdmin(ReadOnlyAdmin):
    change_form_template = "admin/chat/facts.html"
    list_display = (
        "opened",
        "owner",
        "conversation_link",
        "state",
        "turns",
        "minutes_heard",
        "minutes_spoken",
    )
    list_filter = (("opened_at", DateFilter),)
    list_select_related = ("owner",)
    ordering = ("-opened_at", "-id")
    fields = (
        "id",
        "owner",
        "conversation_link",
        "process",
        "take_overs",
        "opened",
        "lost_at",
        "ended_at",
        "state",
        "turns",
        "minutes_heard",
        "minutes_spoken",
    )

    def get_queryset(self, request: HttpRequest) -> Any:
        # Not a join: with one, SQLite starts at the conversations and reads them all.
        kept = Conversation.objects.reviewable().filter(pk=OuterRef("conversation"))
        return super().get_queryset(request).filter(Exists(kept)).defer("handle")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return whether the staff may see runs: a call is a time of them."""
        return bool(request.user.has_perm("chat.view_run"))

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    @admin.display(description=_("opened"), ordering="opened_at")
    def opened(self, call: LiveCall) -> str:
        return moment(call.opened_at)

    @admin.display(description=_("conversation"))
    def conversation_link(self, call: LiveCall) -> SafeString:
        address = reverse("admin:chat_conversation_change", args=[call.conversation_id])
        return format_html('<a href="{}"><code>{}</code></a>', address, call.conversation_id)

    @admin.display(description=_("state"))
    def state(self, call: LiveCall) -> str:
        if call.ended_at is None:
            return str(_("connection lost") if call.lost_at else _("open"))
        return call.end_code

    @admin.display(description=_("minutes heard"), ordering="seconds_in")
    def minutes_heard(self, call: LiveCall) -> str:
        return f"{call.seconds_in / 60:.1f}"

    @admin.display(description=_("minutes spoken"), ordering="seconds_out")
    def minutes_spoken(self, call: LiveCall) -> str:
        return f"{call.seconds_out / 60:.1f}"

    @admin.display(description=_("take-overs"))
    def take_overs(self, call: LiveCall) -> int:
        return call.epoch - 1
