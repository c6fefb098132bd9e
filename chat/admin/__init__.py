"""Django's admin for moderators: conversations, runs and processes are read there, never changed."""

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from chat.admin import conversations, runs, suggestions  # noqa: F401  (imported to be registered)

admin.site.site_header = admin.site.site_title = "Parley"
admin.site.index_title = _("Administration")
