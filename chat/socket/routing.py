"""Routes of sockets."""

from typing import Any, cast

from django.urls import path, re_path

from chat.socket import consumer, live

_Asgi = Any  # Channels routes ASGI applications with Django's path(), whose types accept views only

websocket_urlpatterns = [
    path("ws/", cast(_Asgi, consumer.changes_socket)),
    path("ws/live/<str:conversation>/", cast(_Asgi, live.live_socket)),
    # Without a match, Channels logs an error with a traceback: anyone could fill the log.
    re_path(r"", cast(_Asgi, consumer.reject)),
]
