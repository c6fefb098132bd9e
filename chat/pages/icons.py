"""The icons: the drawings of lucide that Parley uses, in one sprite a page."""

import re
from functools import cache
from importlib.resources import files
from zipfile import ZipFile

from django.utils.safestring import SafeString, mark_safe

# Our name for what a control does, and lucide's for the drawing.
DRAWINGS = {
    "again": "refresh-cw",
    "alert": "triangle-alert",
    "chevron": "chevron-down",
    "close": "x",
    "copy": "copy",
    "delete": "trash-2",
    "down": "arrow-down",
    "file": "file-text",
    "keys": "keyboard",
    "menu": "panel-left",
    "new": "square-pen",
    "search": "search",
    "send": "arrow-up",
    "settings": "settings",
    "sign-out": "log-out",
    "thought": "lightbulb",
    "tool": "wrench",
}
# What lucide does not draw: Parley's mark, and a stop that is filled.
OWN = {
    "mark": '<path d="M4 5.5h16v11h-9l-4.5 3.5v-3.5H4z"/><path d="M8 9.5h8M8 12.75h5"/>',
    "stop": '<rect x="7" y="7" width="10" height="10" rx="1.5" fill="currentColor"/>',
}
NAMES = frozenset(DRAWINGS | OWN)


@cache
def sprite() -> SafeString:
    """Every icon once, as symbols. A page that is taken in place of another finds all of its icons there."""
    # The package's own way reads the list of all its 1,700 drawings for each one,
    # 0.3 s for the first page of a server.
    with files("lucide").joinpath("lucide.zip").open("rb") as file, ZipFile(file) as lucide:
        drawn = OWN | {name: _inside(lucide.read(f"{of}.svg").decode()) for name, of in DRAWINGS.items()}
    symbols = (f'<symbol id="i-{name}" viewBox="0 0 24 24">{drawn[name]}</symbol>' for name in sorted(drawn))
    return mark_safe(f'<svg hidden aria-hidden="true">{"".join(symbols)}</svg>')  # noqa: S308  (our own markup)


def _inside(svg: str) -> str:
    found = re.search(r"<svg[^>]*>(.*)</svg>\s*$", svg, re.DOTALL)
    assert found, svg
    return re.sub(r">\s+<", "><", found[1].strip()).replace(" />", "/>")
