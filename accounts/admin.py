"""Users in Django's admin. Who is not the site's owner changes neither staff nor what anybody may do."""

from typing import Any

from django.contrib import admin
from django.contrib.admin import ShowFacets
from django.contrib.auth.admin import UserAdmin
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import HttpRequest
from django.utils.functional import cached_property

from accounts.models import User

COUNTED = 5_000  # users; a list that is longer is searched, not leafed through
SEARCH_LENGTH = 200  # each word is four comparisons: a thousand of them are more than SQLite takes
RIGHTS = ("is_staff", "is_superuser", "groups", "user_permissions")


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    @cached_property
    def count(self) -> int:
        return int(self.object_list[:COUNTED].count())  # type: ignore[attr-defined]


@admin.register(User)
class MemberAdmin(UserAdmin):  # type: ignore[type-arg]
    list_display = ("username", "email", "is_active", "is_staff", "date_joined", "last_login")
    list_filter = ("is_active", "is_staff", "is_superuser")
    ordering = ("username",)
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    paginator = BoundedPaginator
    actions = None
    # With an address, because the new member cannot ask for a password of their own without one.
    add_fieldsets = ((None, {"fields": ("username", "email", "usable_password", "password1", "password2")}),)

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> Any:
        return super().get_search_results(request, queryset, search_term[:SEARCH_LENGTH])

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is not None and not self.has_change_permission(request, obj):
            told = ("username", "email", "is_active", "is_staff", "date_joined", "last_login")
            return ((None, {"fields": told}),)
        return super().get_fieldsets(request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return () if _is_owner(request) else RIGHTS

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whoever may set a password may sign in with it: staff's are the owner's to set."""
        if obj is not None and (obj.is_staff or obj.is_superuser) and not _is_owner(request):
            return False
        return super().has_change_permission(request, obj)

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        """Permission first: Django's looks for the object first, and tells so whether there is one."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return super().history_view(request, object_id, extra_context)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody: it would take the conversations with it. An account is closed by "active"."""
        return False


def _is_owner(request: HttpRequest) -> bool:
    return bool(getattr(request.user, "is_superuser", False))
