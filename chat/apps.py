from django.apps import AppConfig
from django.db.models.signals import post_migrate


class ChatConfig(AppConfig):
    name = "chat"

    def ready(self) -> None:
        # Those that are not named here register by being imported: the checks, the bell of a sign-out.
        from chat import checks, moderators  # noqa: F401
        from chat.socket import auth  # noqa: F401

        post_migrate.connect(moderators.make_group, sender=self)
