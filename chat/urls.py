from django.urls import path

from chat.http import probes
from chat.pages import (
    answers,
    approvals,
    conversation_files,
    files,
    manage,
    manifest,
    memories,
    my_data,
    preferences,
    sidebar,
)
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
    path("chat/list/", sidebar.conversation_list, name="list"),
    path("chat/hits", pages.search_hits, name="hits"),
    path("chat/<str:conversation>/", pages.chat_page, name="conversation"),
    path("chat/<str:conversation>/stop/", pages.stop, name="stop"),
    path("chat/<str:conversation>/answer/", answers.answer, name="answer"),
    path("chat/<str:conversation>/branch/", pages.choose_version, name="branch"),
    path("chat/<str:conversation>/files/", conversation_files.conversation_files, name="files"),
    path("chat/<str:conversation>/manage/", manage.manage, name="manage"),
    path("chat/<str:conversation>/delete/", pages.delete, name="delete"),
    path("chat/<str:conversation>/restore/", pages.undo_deletion, name="restore"),
    path("chat/<str:conversation>/<str:message>/edit/", pages.edit, name="edit"),
    path("chat/<str:conversation>/<str:message>/feedback/", pages.rate, name="feedback"),
    path("chat/<str:conversation>/<str:message>/text/", pages.message_source, name="text"),
    path("files/<str:file>/<path:name>", files.file_bytes, name="file"),
    path("thumbnails/<str:file>", files.thumbnail, name="thumbnail"),
    path("waiting/", approvals.waiting_page, name="waiting"),
    path("waiting/<str:request_id>/", approvals.decide, name="decide"),
    path("account/data/", my_data.my_data, name="my_data"),
    path("account/memories/", memories.memories_page, name="memories"),
    path("account/memories/<str:memory>/", memories.change_memory, name="memory"),
    path("account/delete/", my_data.delete_account, name="delete_account"),
    path("account/delete/cancel/", my_data.keep_account, name="keep_account"),
    path("preferences/", preferences.save, name="preferences"),
    path("manifest.webmanifest", manifest.manifest, name="manifest"),
    path("favicon.ico", manifest.favicon, name="favicon"),
    path("healthz", probes.healthz, name="healthz"),
    path("readyz", probes.readyz, name="readyz"),
    path("metrics", probes.metrics_page, name="metrics"),
]
