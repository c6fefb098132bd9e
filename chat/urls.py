from django.urls import path

from chat.http import probes
from chat.pages import preferences
from chat.pages import views as pages
from chat.stream import views as stream

app_name = "chat"

# Ids are text here: chat/access.py gives a malformed id the same answer as a foreign one.
urlpatterns = [
    path("", pages.chat_page, name="home"),
    path("chat/", pages.chat_page, name="ask"),
    path("chat/stream", stream.stream, name="stream"),
    path("chat/runs/<str:run>/events", stream.run_events, name="run_events"),
    path("chat/runs/<str:run>/stop", stream.stop_run, name="stop_run"),
    path("chat/<str:conversation>/", pages.chat_page, name="conversation"),
    path("chat/<str:conversation>/stop/", pages.stop, name="stop"),
    path("chat/<str:conversation>/delete/", pages.delete, name="delete"),
    path("chat/<str:conversation>/<str:message>/text/", pages.message_source, name="text"),
    path("preferences/", preferences.save, name="preferences"),
    path("healthz", probes.healthz, name="healthz"),
    path("readyz", probes.readyz, name="readyz"),
    path("metrics", probes.metrics_page, name="metrics"),
]
