"""Users in Django's admin. Nobody sets the password or the address of somebody else there.

chat/moderation/members.py registers them, with their conversations, and writes each change to the audit.
"""

from typing import Any

from allauth.account import admin as allauth_admin
from allauth.account.models import EmailAddress
from django import forms
from django.contrib import admin
from django.contrib.admin import ShowFacets
from django.contrib.auth.admin import UserAdmin
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import HttpRequest
from django.urls import URLPattern
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from accounts.models import User

COUNT_MAX = 5_000  # users; a longer list is searched, not paged through
SEARCH_LENGTH = 200  # characters: each word is four comparisons, and SQLite refuses a thousand words
OWNER_ONLY_FIELDS = ("is_staff", "is_superuser", "groups", "user_permissions")
VIEW_FIELDS = ("username", "email", "is_active", "is_staff", "date_joined", "last_login")

# With another address in an account, its password could be reset there. allauth registers the table when its
# module is imported, which has happened above.
assert allauth_admin
admin.site.unregister(EmailAddress)


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    @cached_property
    def count(self) -> int:
        return int(self.object_list[:COUNT_MAX].count())  # type: ignore[attr-defined]


class NewUserForm(forms.ModelForm):  # type: ignore[type-arg]
    """Form of a new account, which has no password yet: its member sets one by a link."""

    class Meta:
        model = User
        fields = ("username", "email")

    def save(self, commit: bool = True) -> User:
        user: User = super().save(commit=False)
        user.set_unusable_password()
        if commit:
            user.save()
        return user


class MemberAdmin(UserAdmin):  # type: ignore[type-arg]
    list_display = ("username", "email", "is_active", "is_staff", "date_joined")
    list_filter = ("is_active", "is_staff", "is_superuser")
    ordering = ("username",)
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    paginator = BoundedPaginator
    actions = None
    form = forms.ModelForm  # Django's own has the field of the password's hash
    add_form = NewUserForm
    add_form_template = None
    add_fieldsets = ((None, {"fields": ("username", "email")}),)
    fieldsets = (
        (None, {"fields": ("username", "email", "is_active")}),
        (_("Staff"), {"fields": OWNER_ONLY_FIELDS}),
        (_("Dates"), {"fields": ("last_login", "date_joined")}),
    )

    def get_urls(self) -> list[URLPattern]:
        """Return Django's URLs without the one that sets a password."""
        return [url for url in super().get_urls() if url.name != "auth_user_password_change"]

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> Any:
        return super().get_search_results(request, queryset, search_term[:SEARCH_LENGTH])

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is not None and not self.has_change_permission(request, obj):
            return ((None, {"fields": VIEW_FIELDS}),)
        return super().get_fieldsets(request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return ()
        fixed = ("email", "last_login", "date_joined")
        return fixed if _is_owner(request) else (*fixed, *OWNER_ONLY_FIELDS)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return True for members' accounts; for staff accounts only to the site owner."""
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
