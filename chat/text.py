"""Rules for text from members, in every input: pages, JSON, the terminal."""

import re
import unicodedata
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from chat import refusals

# Invisible characters that Unicode files under letters, marks and symbols.
INVISIBLE = set("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0") | {chr(c) for c in range(0xFE00, 0xFE10)}
SEARCH_MAX = 200  # characters
TITLE_LENGTH = 60
_SURROGATE = re.compile("[\ud800-\udfff]")


def message_text(value: str) -> str:
    """Return ``value`` unchanged. Raises the 422 refusal if it cannot be a message."""
    if not is_visible(value):
        raise refusals.unprocessable("blank", _("The message is empty."))
    if len(value.encode()) > settings.MESSAGE_MAX_BYTES:
        raise refusals.unprocessable(
            "too_long",
            _("The message is longer than %(limit)s KiB.") % {"limit": settings.MESSAGE_MAX_BYTES // 1024},
        )
    return value


def title_of(text: str) -> str:
    """Return a title without a model: the first words of the question, on one line."""
    line = " ".join(text.split())
    if len(line) <= TITLE_LENGTH:
        return line
    cut = line[: TITLE_LENGTH - 1]
    if " " in cut[TITLE_LENGTH // 2 :]:
        cut = cut[: cut.rindex(" ")]
    return cut + "…"


def check_search(value: str) -> str:
    """Return ``value`` unchanged. Raises the 400 and 422 refusals if it cannot be searched for."""
    check_text(value)
    if not is_visible(value):
        raise refusals.unprocessable("blank", _("There is nothing to search for."))
    if len(value) > SEARCH_MAX:
        raise refusals.unprocessable(
            "too_long", _("A search has at most %(limit)s characters.") % {"limit": SEARCH_MAX}
        )
    return value


def is_visible(value: str) -> bool:
    """Return whether ``value`` has a visible character."""
    return any(
        unicodedata.category(char) not in {"Cc", "Cf", "Zs", "Zl", "Zp"} and char not in INVISIBLE
        for char in value
    )


def check_text(value: Any) -> None:
    """Raise the 400 refusal for a NUL or a lone surrogate anywhere in ``value``."""
    if isinstance(value, str):
        if "\x00" in value:
            raise refusals.malformed(_("Text must not hold a NUL character."))
        if _SURROGATE.search(value):
            raise refusals.malformed(_("Text must not hold a lone surrogate."))
    elif isinstance(value, dict):
        for key, item in value.items():
            check_text(key)
            check_text(item)
    elif isinstance(value, list):
        for item in value:
            check_text(item)
