"""Users in the admin, with a link to the conversations of each."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Count, Max
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from accounts.admin import MemberAdmin
from accounts.models import User
from chat.admin.lists import moment
from chat.models import Conversation

COLUMNS = ("conversations", "last_activity")


class MemberList(ChangeList):
    """List whose conversations are counted for the users of one page only."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = list(self.result_list)
        if "conversations" in self.list_display:
            add_figures(self.result_list)


def add_figures(users: list[Any]) -> None:
    """Add to each user the number of conversations, ``talks``, and the last activity, ``talked_at``."""
    found = Conversation.objects.reviewable().filter(owner__in=[user.pk for user in users]).order_by()
    figures = {
        row["owner"]: row
        for row in found.values("owner").annotate(talks=Count("pk"), talked_at=Max("updated_at"))
    }
    for user in users:
        own: Any = figures.get(user.pk, {})
        user.talks, user.talked_at = own.get("talks", 0), own.get("talked_at")


@admin.register(User)
class MemberWithConversationsAdmin(MemberAdmin):
    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return MemberList

    def get_list_display(self, request: HttpRequest) -> Any:
        name, address, *others = super().get_list_display(request)
        return (name, address, *COLUMNS, *others) if _may_read(request) else (name, address, *others)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        user = super().get_object(request, object_id, from_field)
        if user is not None:
            add_figures([user])
        return user

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        first, *others = super().get_fieldsets(request, obj)
        if obj is None or not _may_read(request):
            return (first, *others)
        name, options = first
        return ((name, {**options, "fields": (*options["fields"], *COLUMNS)}), *others)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return (*super().get_readonly_fields(request, obj), *COLUMNS)

    @admin.display(description=_("conversations"), empty_value="0")
    def conversations(self, user: Any) -> SafeString | None:
        if not user.talks:
            return None
        address = reverse("admin:chat_conversation_changelist")
        return format_html('<a href="{}?owner__id__exact={}">{}</a>', address, user.pk, user.talks)

    @admin.display(description=_("last activity"), empty_value="-")
    def last_activity(self, user: Any) -> str | None:
        return moment(user.talked_at) if user.talked_at else None


def _may_read(request: HttpRequest) -> bool:
    return bool(request.user.has_perm("chat.view_conversation"))
