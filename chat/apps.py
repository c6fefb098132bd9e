from django.apps import AppConfig
from django.db.models.signals import post_migrate


class ChatConfig(AppConfig):
    name = "chat"

    def ready(self) -> None:
        from chat import moderators  # checks registers the system checks

        post_migrate.connect(moderators.make_group, sender=self)
