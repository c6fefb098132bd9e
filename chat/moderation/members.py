"""Users and groups in the admin. Each change is a row of the audit."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth.admin import GroupAdmin
from django.contrib.auth.models import Group
from django.db.models import Count, Max
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from accounts.admin import MemberAdmin
from accounts.models import User
from chat.admin.lists import moment
from chat.http.members import signed_in_user
from chat.models import Conversation
from chat.moderation import audit
from chat.moderation.account_acts import end_sign_ins, record_act
from chat.moderation.duties import may_act_on

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
class AuditedMemberAdmin(MemberAdmin):
    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return MemberList

    def get_list_display(self, request: HttpRequest) -> Any:
        name, address, *others = super().get_list_display(request)
        return (name, address, *COLUMNS, *others) if _may_list(request) else (name, address, *others)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        user = super().get_object(request, object_id, from_field)
        if user is not None:
            add_figures([user])
        return user

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        first, *others = super().get_fieldsets(request, obj)
        if obj is None:
            return (first, *others)
        name, options = first
        decides = ("decisions",) if may_act_on(signed_in_user(request), obj) else ()
        more = ("sign_in_help", *decides, *(COLUMNS if _may_list(request) else ()))
        return ((name, {**options, "fields": (*options["fields"], *more)}), *others)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        own = () if obj is None else ("sign_in_help", "decisions", *COLUMNS)
        return (*super().get_readonly_fields(request, obj), *own)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Store the user, and end the sign-ins of an account that is deactivated."""
        super().save_model(request, obj, form, change)
        if change and "is_active" in form.changed_data and not obj.is_active:
            # Also those that would revive with the account.
            end_sign_ins(obj)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Store the groups, and write each changed field to the audit, in Django's transaction."""
        super().save_related(request, form, formsets, change)
        actor = signed_in_user(request)
        for name in form.changed_data if change else [""]:
            record_act("member.change" if change else "member.add", actor, form.instance, reason=name)

    @admin.display(description=_("signing in"), empty_value="-")
    def sign_in_help(self, user: Any) -> SafeString | None:
        address = reverse("help_to_sign_in", args=[user.pk])
        return format_html('<a href="{}">{}</a>', address, _("Help this member to sign in"))

    @admin.display(description=_("decisions"))
    def decisions(self, user: Any) -> SafeString:
        address = reverse("decide_member", args=[user.pk])
        return format_html('<a href="{}">{}</a>', address, _("Warn or suspend, and what was decided"))

    @admin.display(description=_("conversations"), empty_value="0")
    def conversations(self, user: Any) -> SafeString | None:
        if not user.talks:
            return None
        address = reverse("admin:chat_conversation_changelist")
        return format_html('<a href="{}?owner__id__exact={}">{}</a>', address, user.pk, user.talks)

    @admin.display(description=_("last activity"), empty_value="-")
    def last_activity(self, user: Any) -> str | None:
        return moment(user.talked_at) if user.talked_at else None


admin.site.unregister(Group)


@admin.register(Group)
class AuditedGroupAdmin(GroupAdmin):
    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        for name in form.changed_data:
            _record_group(request, form.instance, name)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        _record_group(request, obj, "deleted")
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        for group in queryset:
            _record_group(request, group, "deleted")
        super().delete_queryset(request, queryset)


def _record_group(request: HttpRequest, group: Group, code: str) -> None:
    audit.record(
        "group.change",
        actor=signed_in_user(request),
        object_type="group",
        object_id=group.pk,
        reason=code,
    )


def _may_list(request: HttpRequest) -> bool:
    return bool(request.user.has_perm("chat.view_conversation"))
