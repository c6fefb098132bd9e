"""Which addresses become links, and how."""

import re
from html import escape

# No control characters: a browser reads "/<tab>/host" as "//host".
SAFE_URL = re.compile(r"(?:https?://|mailto:|#|/(?![/\\]))[^\x00-\x1f\x7f]*\Z", re.IGNORECASE)
BARE_URL = re.compile(r"\bhttps?://[^\s<>\"'`]*[^\s<>\"'`.,;:!?)\]}*_~|]")


def is_safe(url: str) -> bool:
    return bool(SAFE_URL.match(url))


def opening(url: str, title: str = "") -> str:
    """The start tag of a link."""
    shown = f' title="{escape(title)}"' if title else ""
    return f'<a href="{escape(url)}"{shown} target="_blank">'


def with_links(text: str) -> str:
    """Plain text as HTML, the addresses in it as links."""
    pieces, at = [], 0
    for found in BARE_URL.finditer(text):
        pieces += [escape(text[at : found.start()], quote=False), opening(found[0]), escape(found[0]), "</a>"]
        at = found.end()
    return "".join(pieces) + escape(text[at:], quote=False)
