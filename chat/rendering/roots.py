"""Root elements of sanitized HTML: the blocks of a text."""

import re

HTML_TAG = re.compile(r'<(/?)([a-z0-9]+)[^">]*(?:"[^"]*"[^">]*)*>')  # as nh3 writes it: ">" in attributes
VOID = {"br", "hr"}


def root_elements(html: str) -> list[str]:
    """Return the HTML of each block, as the sanitizer wrote it."""
    found, depth, begin = [], 0, 0
    for tag in HTML_TAG.finditer(html):
        if tag[2] not in VOID:
            depth += -1 if tag[1] else 1
        if depth == 0:
            found.append(html[begin : tag.end()])
            begin = tag.end()
    return found
