"""Icons of the pages: drawings of lucide, in one sprite per page."""

import re
from functools import cache
from importlib.resources import files
from zipfile import ZipFile

from django.utils.safestring import SafeString, mark_safe

# Parley's name of an icon, after the action of its control, and lucide's name of the drawing.
DRAWINGS = {
    "adjust": "sliders-horizontal",
    "again": "refresh-cw",
    "alert": "triangle-alert",
    "archive": "archive",
    "attach": "paperclip",
    "audio": "audio-lines",
    "chevron": "chevron-down",
    "close": "x",
    "copy": "copy",
    "delete": "trash-2",
    "done": "check",
    "down": "arrow-down",
    "edit": "pencil",
    "bad": "thumbs-down",
    "export": "download",
    "file": "file-text",
    "files": "files",
    "good": "thumbs-up",
    "hang-up": "phone-off",
    "keys": "keyboard",
    "menu": "panel-left",
    "mic": "mic",
    "more": "ellipsis",
    "muted": "mic-off",
    "new": "square-pen",
    "next": "chevron-right",
    "pin": "pin",
    "previous": "chevron-left",
    "report": "flag",
    "search": "search",
    "send": "arrow-up",
    "settings": "settings",
    "sign-out": "log-out",
    "support": "life-buoy",
    "thought": "lightbulb",
    "tool": "wrench",
    "unarchive": "archive-restore",
    "unpin": "pin-off",
    "video": "film",
}
# Drawings that lucide lacks: Parley's logo, and a filled stop.
OWN_DRAWINGS = {
    "mark": '<path d="M4 5.5h16v11h-9l-4.5 3.5v-3.5H4z"/><path d="M8 9.5h8M8 12.75h5"/>',
    "stop": '<rect x="7" y="7" width="10" height="10" rx="1.5" fill="currentColor"/>',
}
NAMES = frozenset(DRAWINGS | OWN_DRAWINGS)


@cache
def sprite() -> SafeString:
    """Return every icon as an SVG symbol."""
    # All of them on every page: the script replaces parts of a page by parts of another page. lucide's own
    # function lists its 1,700 drawings again for each icon, which takes 0.3 s for the first page of a server.
    with files("lucide").joinpath("lucide.zip").open("rb") as file, ZipFile(file) as lucide:
        drawn = OWN_DRAWINGS | {
            name: _inner_markup(lucide.read(f"{drawing}.svg").decode()) for name, drawing in DRAWINGS.items()
        }
    symbols = (f'<symbol id="i-{name}" viewBox="0 0 24 24">{drawn[name]}</symbol>' for name in sorted(drawn))
    return mark_safe(f'<svg hidden aria-hidden="true">{"".join(symbols)}</svg>')  # noqa: S308  (our own markup)


def _inner_markup(svg: str) -> str:
    found = re.search(r"<svg[^>]*>(.*)</svg>\s*$", svg, re.DOTALL)
    assert found, svg
    return re.sub(r">\s+<", "><", found[1].strip()).replace(" />", "/>")
