from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


class ChatConfig(AppConfig):
    name = "chat"
    verbose_name = _("Chat")

    def ready(self) -> None:
        # Importing registers the system checks, and the doorbell of a sign-out.
        from chat import checks  # noqa: F401
        from chat.socket import auth  # noqa: F401

        post_migrate.connect(_index_all, sender=self)


def _index_all(**kwargs: Any) -> None:
    """Take what migrations listed as due into the full-text index, before the server starts."""
    from chat.search.index import index_due

    while index_due():
        pass
