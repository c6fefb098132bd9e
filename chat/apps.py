from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


class ChatConfig(AppConfig):
    name = "chat"
    verbose_name = _("Chat")

    def ready(self) -> None:
        # Importing registers the system checks, and the doorbell of a sign-out.
        from chat import checks, moderators  # noqa: F401
        from chat.socket import auth  # noqa: F401

        post_migrate.connect(moderators.make_group, sender=self)
