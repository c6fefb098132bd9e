"""Users in Django's admin. Only the site owner can edit staff accounts and permissions.

chat/admin/members.py registers them, with their conversations.
"""

from typing import Any

from django.contrib.admin import ShowFacets
from django.contrib.auth.admin import UserAdmin
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import HttpRequest
from django.utils.functional import cached_property

COUNT_MAX = 5_000  # users; a longer list is searched, not paged through
SEARCH_LENGTH = 200  # characters: each word is four comparisons, and SQLite refuses a thousand words
OWNER_ONLY_FIELDS = ("is_staff", "is_superuser", "groups", "user_permissions")
VIEW_FIELDS = ("username", "email", "is_active", "is_staff", "date_joined", "last_login")


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    @cached_property
    def count(self) -> int:
        return int(self.object_list[:COUNT_MAX].count())  # type: ignore[attr-defined]


class MemberAdmin(UserAdmin):  # type: ignore[type-arg]
    list_display = ("username", "email", "is_active", "is_staff", "date_joined")
    list_filter = ("is_active", "is_staff", "is_superuser")
    ordering = ("username",)
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    paginator = BoundedPaginator
    actions = None
    # With an e-mail address: without one, a new member cannot reset their password.
    add_fieldsets = ((None, {"fields": ("username", "email", "usable_password", "password1", "password2")}),)

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> Any:
        return super().get_search_results(request, queryset, search_term[:SEARCH_LENGTH])

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is not None and not self.has_change_permission(request, obj):
            return ((None, {"fields": VIEW_FIELDS}),)
        return super().get_fieldsets(request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return () if _is_owner(request) else OWNER_ONLY_FIELDS

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return True for members' accounts; for staff accounts only to the site owner.

        A moderator who could set a staff password could sign in with it.
        """
        if obj is not None and (obj.is_staff or obj.is_superuser) and not _is_owner(request):
            return False
        return super().has_change_permission(request, obj)

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        """Check the permission before the lookup; Django's order reveals which ids exist."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return super().history_view(request, object_id, extra_context)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return False for everyone: deletion would cascade to conversations. Clear "active" instead."""
        return False


def _is_owner(request: HttpRequest) -> bool:
    return bool(getattr(request.user, "is_superuser", False))
