"""Suggested questions of the empty page, which the site's owner edits."""

from django.contrib import admin

from chat.models import Suggestion


@admin.register(Suggestion)
class SuggestionAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("text", "position")
    list_editable = ("position",)
