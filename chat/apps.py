from django.apps import AppConfig


class ChatConfig(AppConfig):
    name = "chat"

    def ready(self) -> None:
        from chat import checks, sessions  # noqa: F401  (registers the checks, and the bell of a sign-out)
