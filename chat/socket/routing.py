from typing import Any

from django.urls import path, re_path

from chat.socket import consumer

# Channels routes to ASGI applications by Django's means, whose types know views alone.
tell_changes: Any = consumer.tell_changes
nowhere: Any = consumer.nowhere

websocket_urlpatterns = [
    path("ws/", tell_changes),
    # Channels logs an error with a traceback where nothing matches: anybody could fill the log.
    re_path(r"", nowhere),
]
