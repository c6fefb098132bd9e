"""System checks for harmful settings, each with an id and a hint."""

from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, register
from django.utils.module_loading import import_string


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
def middleware_is_async(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    return [
        Error(
            f"{name} cannot run asynchronously: each stream would need a thread.",
            hint="Replace it, or declare it async_capable.",
            id="chat.E001",
        )
        for name in settings.MIDDLEWARE
        if not getattr(import_string(name), "async_capable", False)
    ]
