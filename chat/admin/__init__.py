"""The review desk, in Django's own admin: what is stored, to be read and never to be changed."""

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from chat.admin import conversations, runs, suggestions  # noqa: F401  (registered by being imported)

admin.site.site_header = admin.site.site_title = "Parley"
admin.site.index_title = _("Review desk")
