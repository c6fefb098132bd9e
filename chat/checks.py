"""System checks for harmful settings, each with an id and a hint."""

from collections.abc import Iterator, Sequence
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register
from django.db import DatabaseError
from django.urls import URLResolver, get_resolver
from django.utils.module_loading import import_string

from chat.agent.agents.services import ServiceError, own_services
from chat.agent.live.voices import check_speech
from chat.approvers import members_of
from chat.files.blobs import storage
from chat.files.comparison import hosts_without_shared_files
from chat.http.event_loop import runs_on_event_loop


@register()
def sqlite_is_safe(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    if settings.ON_SQLITE and not settings.SQLITE_HAS_SAFE_WAL:
        return [
            checks.Warning(
                "This SQLite can corrupt a WAL file, so journal mode DELETE is used, which is slower.",
                hint="Install pysqlite3, or a Python linked with SQLite 3.51.3 or newer.",
                id="chat.W001",
            )
        ]
    return []


@register()
def middleware_is_sync_and_async(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    return [
        Error(
            f"{name} cannot run both on a thread and on the event loop.",
            hint="Replace it, or declare it sync_capable and async_capable.",
            id="chat.E001",
        )
        for name in settings.MIDDLEWARE
        if not getattr(import_string(name), "async_capable", False)
        or not getattr(import_string(name), "sync_capable", True)
    ]


@register()
def views_on_threads_are_sync(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    return [
        Error(
            f"The view of {route!r} is asynchronous, and runs on a thread, which would wait for it.",
            hint="Make it synchronous, or mark it with on_event_loop (chat/http/event_loop.py).",
            id="chat.E002",
        )
        for route, view in _views(get_resolver().url_patterns)
        if iscoroutinefunction(view) and not runs_on_event_loop(view)
    ]


def _views(patterns: Sequence[Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for pattern in patterns:
        route = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _views(pattern.url_patterns, route)
        else:
            yield route, pattern.callback


@register()
def letters_are_sent(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    if settings.WAITING_EMAIL_MINUTES and not settings.EMAIL_HOST:
        return [
            checks.Warning(
                "WAITING_EMAIL_MINUTES is set, and there is no mail server: letters are written to files.",
                hint="Set EMAIL_HOST, or WAITING_EMAIL_MINUTES=0.",
                id="chat.W003",
            )
        ]
    return []


@register()
def own_services_load(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    # An error, not a fallback: agents would write to another store than the one that the owner named.
    try:
        own_services()
    except ServiceError as error:
        return [
            Error(
                str(error),
                hint="Correct services.py, services.yaml or the setting; the log has the traceback.",
                id="chat.E003",
            )
        ]
    return []


@register()
def speech_loads(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    hint = "Name a LiveIngress and a LiveEgress, for example google.adk.live.GeminiSTT and GeminiTTS."
    found = check_speech() if settings.LIVE_STT or settings.LIVE_TTS else []
    return [Error(sentence, hint=hint, id="chat.E004") for sentence in found]


@register(Tags.database)
def approvers_exist(
    app_configs: Any, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    if not databases:
        return []
    groups = sorted({group for tools in settings.APPROVERS.values() for group in tools.values()})
    try:
        empty = [group for group in groups if not members_of([group]).exists()]
    except DatabaseError:  # there are no tables yet
        return []
    return [
        checks.Warning(
            f"The group {group!r} of APPROVERS has no active member: no one can decide its requests.",
            hint="Create the group in the admin, and add the members who decide.",
            id="chat.W002",
        )
        for group in empty
    ]


@register(Tags.database)
def files_are_shared(
    app_configs: Any, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    if not databases:
        return []
    try:
        hosts = hosts_without_shared_files()
    except DatabaseError:  # there are no tables yet
        return []
    if not hosts:
        return []
    return [
        checks.Warning(
            f"Servers run on {len(hosts)} machines, and files are in a folder: {', '.join(hosts)}.",
            hint="Set FILES_STORAGE to a storage that all of them reach, or let them share the folder.",
            id="chat.W004",
        )
    ]


@register()
def files_storage_can_be_made(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    try:
        storage()
    # A storage reads its options here, and may raise anything for wrong ones.
    except Exception as error:  # noqa: BLE001
        return [
            Error(
                f"The storage of FILES_STORAGE cannot be made: {type(error).__name__}.",
                hint="Compare its OPTIONS with the documentation of its BACKEND.",
                id="chat.E003",
            )
        ]
    return []
