"""Numbered links to the sources of a reply, in its rendered HTML.

A private character marks the end of each span in the text. The text is rendered with and without the marks:
if they change anything else, for example a table, the reply stays without numbers.
"""

import re
from collections.abc import Mapping
from html import escape
from typing import Any

FIRST_MARK = 0xF0000  # a plane for private use; the mark of source n is n characters after it
SOURCE_MARK = re.compile("[\U000f0000-\U000ffffd]")
TAG = re.compile(r'<(/?)([a-z0-9]+)[^">]*(?:"[^"]*"[^">]*)*>')  # as nh3 writes it
WITHOUT_LINKS = {"pre", "math"}
UNBROKEN = {"a", "code"}  # a number follows the whole element


def marked(text: str, sources: Mapping[str, Any]) -> str:
    """Return the text with a mark for each source of each span; the same text if there is none."""
    if SOURCE_MARK.search(text):
        return text
    ends: dict[int, dict[str, None]] = {}
    for span in sources["spans"]:
        if 0 <= span["start"] < span["end"] <= len(text):
            for number in span["items"]:
                ends.setdefault(span["end"], {})[chr(FIRST_MARK + number)] = None
    pieces, at = [], 0
    for end in sorted(ends):
        pieces += [text[at:end], *ends[end]]
        at = end
    return "".join(pieces) + text[at:]


def linked(html: str, marked_html: str, sources: Mapping[str, Any]) -> str:
    """Return the HTML with links in place of the marks in ``marked_html``; ``html`` if they changed it."""
    if SOURCE_MARK.sub("", marked_html) != html:
        return html
    by_mark = {chr(FIRST_MARK + each["n"]): _link(each) for each in sources["items"]}
    found: list[str] = []
    waiting: list[str] = []
    open_elements: list[str] = []
    at = 0
    for tag in TAG.finditer(marked_html):
        _add(found, waiting, marked_html[at : tag.start()], by_mark, open_elements)
        found.append(SOURCE_MARK.sub("", tag[0]))
        at = tag.end()
        if tag[2] in WITHOUT_LINKS | UNBROKEN:
            if tag[1]:
                open_elements.remove(tag[2])
            else:
                open_elements.append(tag[2])
        if waiting and not open_elements:
            found += waiting
            waiting.clear()
    _add(found, waiting, marked_html[at:], by_mark, open_elements)
    return "".join(found)


def _add(
    found: list[str], waiting: list[str], text: str, by_mark: Mapping[str, str], open_elements: list[str]
) -> None:
    if not open_elements:
        found.append(SOURCE_MARK.sub(lambda mark: by_mark.get(mark[0], ""), text))
        return
    found.append(SOURCE_MARK.sub("", text))
    if not WITHOUT_LINKS.intersection(open_elements):
        waiting += [by_mark[mark] for mark in SOURCE_MARK.findall(text) if mark in by_mark]


def _link(source: Mapping[str, Any]) -> str:
    number, uri = source["n"], source["uri"]
    if not uri:
        return f'<sup class="source">{number}</sup>'
    target = 'target="_blank" rel="nofollow noopener noreferrer ugc"'  # as of the reply's own links
    title = escape(source["title"])
    return f'<sup class="source"><a href="{escape(uri)}" title="{title}" {target}>{number}</a></sup>'
