"""What an empty page offers to ask: the site's owner writes it."""

from django.contrib import admin

from chat.models import Suggestion


@admin.register(Suggestion)
class SuggestionAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("text", "position")
    list_editable = ("position",)
