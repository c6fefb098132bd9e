"""Rules for the text that members write, whatever way it comes in."""

import re
import unicodedata
from typing import Any

from django.conf import settings

from chat import refusals

# Letters and symbols by category that nobody can see.
INVISIBLE = set("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0") | {chr(c) for c in range(0xFE00, 0xFE10)}
_SURROGATE = re.compile("[\ud800-\udfff]")


def message_text(value: str) -> str:
    """``value``, byte for byte, where it can be a message. Raises the 422 refusal."""
    if not is_visible(value):
        raise refusals.unprocessable("blank", "The message is empty.")
    if len(value.encode()) > settings.MESSAGE_MAX_BYTES:
        limit = settings.MESSAGE_MAX_BYTES // 1024
        raise refusals.unprocessable("too_long", f"The message is longer than {limit} KiB.")
    return value


def is_visible(value: str) -> bool:
    """Whether a reader would see anything of ``value``."""
    return any(
        unicodedata.category(char) not in {"Cc", "Cf", "Zs", "Zl", "Zp"} and char not in INVISIBLE
        for char in value
    )


def check_text(value: Any) -> None:
    """Raises the 400 refusal for a NUL or a lone surrogate anywhere inside ``value``."""
    if isinstance(value, str):
        if "\x00" in value:
            raise refusals.malformed("Text must not hold a NUL character.")
        if _SURROGATE.search(value):
            raise refusals.malformed("Text must not hold a lone surrogate.")
    elif isinstance(value, dict):
        for key, item in value.items():
            check_text(key)
            check_text(item)
    elif isinstance(value, list):
        for item in value:
            check_text(item)
