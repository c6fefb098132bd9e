from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class CallsConfig(AppConfig):
    name = "chat.calls"
    verbose_name = _("Spoken conversations")

    def ready(self) -> None:
        from chat import hooks
        from chat.calls.models import LiveCall

        hooks.models_of_conversation.append(LiveCall)
