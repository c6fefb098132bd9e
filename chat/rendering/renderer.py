"""Rendering for servers, in separate processes, within a budget of time.

A thread cannot be killed, and a regular expression keeps the GIL until it ends. A text that exceeds
the budget is shown as plain text. chat/rendering/pool.py manages the processes.
"""

import asyncio
import base64
import logging
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from django.conf import settings

from chat.instruments import metrics
from chat.rendering import source_links
from chat.rendering.pool import NotRendered, Pool

log = logging.getLogger(__name__)

GIVEN_UP = 4096  # texts
THUMBNAIL_SECONDS = 2.0  # of CPU. A screenshot takes 0.1 s, a photo 0.2 s, the largest PNG that is read 1.5 s


@dataclass(frozen=True, slots=True)
class Part:
    """A growing text, rendered so far.

    ``closed`` are the blocks that became final, ``tail`` is the source of the others and ``open`` their HTML.
    ``definitions`` are the link definitions so far, ``seconds`` the CPU time.
    """

    closed: list[str]
    tail: str
    definitions: dict[str, Any]
    open: str
    seconds: float


def plain(text: str) -> str:
    """Return a text without markup, as one block of HTML."""
    return f'<p class="plain" dir="auto">{escape(text, quote=False)}</p>'


def start() -> None:
    """Wait until a worker is ready. Raise RuntimeError when none can be started."""
    try:
        _call("whole", "").result()
    except NotRendered as failure:
        raise RuntimeError("The process that renders replies could not be started.") from failure


def render_in_time(text: str) -> str:
    """Return the HTML of a Markdown text, or ``plain`` if that takes too long. It blocks: for threads."""
    if hash(text) in _given_up:
        return plain(text)
    try:
        _seconds, html = _call("whole", text).result()
    except NotRendered as failure:
        return _give_up(text, failure)
    return str(html)


def render_reply_in_time(text: str, sources: Mapping[str, Any] | None) -> str:
    """Return the HTML of a reply, with a link for each of its ``sources``. It blocks: for threads."""
    html = render_in_time(text)
    marked = source_links.marked(text, sources) if sources else text
    if sources and marked != text:
        return source_links.linked(html, render_in_time(marked), sources)
    return html


async def render_in_time_async(text: str) -> str:
    """Return the same as ``render_in_time``, without blocking the event loop."""
    if hash(text) in _given_up:
        return plain(text)
    try:
        _seconds, html = await asyncio.wrap_future(_call("whole", text))
    except NotRendered as failure:
        return _give_up(text, failure)
    return str(html)


def render_unfinished_in_time(text: str) -> str:
    """Return the HTML of an unfinished text, completed, or ``plain``. It blocks: for threads."""
    try:
        _seconds, (_closed, _tail, _definitions, html) = _call("part", text, {}, False).result()
    except NotRendered as failure:
        _count(text, failure)
        return plain(text)
    return str(html)


async def render_part(tail: str, definitions: dict[str, Any], *, closes: bool) -> Part | None:
    """Render the end of a growing text, after its closed blocks; None if that takes too long.

    ``closes``: a line has ended, so more blocks may have become final.
    """
    try:
        seconds, (closed, left, found, html) = await asyncio.wrap_future(
            _call("part", tail, definitions, closes)
        )
    except NotRendered as failure:
        _count(tail, failure)
        return None
    return Part(closed, left, found, html, seconds)


# Hashes of texts that took too long: a page shows the same ones again and again.
_given_up: set[int] = set()


def _give_up(text: str, failure: NotRendered) -> str:
    _count(text, failure)
    if failure.args[0] != "late":  # that may have been the machine's fault
        if len(_given_up) >= GIVEN_UP:
            _given_up.clear()
        _given_up.add(hash(text))
    return plain(text)


def _count(text: str, failure: NotRendered) -> None:
    metrics.renders_given_up.count(*failure.args)
    log.warning("A text of %d characters is shown as it was written (%s)", len(text), *failure.args)


def render_thumbnail(path: Path) -> bytes | None:
    """Return the WebP of the picture at ``path``; None if it has too many pixels. It blocks.

    Raises NotRendered, also if the picture cannot be decoded.
    """
    _seconds, encoded = _call("thumbnail", str(path), budget=THUMBNAIL_SECONDS).result()
    return base64.b64decode(encoded) if encoded else None


_lock = threading.Lock()
_pool: Pool | None = None


def _call(job: str, *arguments: Any, budget: float | None = None) -> "Future[tuple[float, Any]]":
    """Return the future of a job's CPU seconds and result, or of NotRendered. By default it is for a text."""
    global _pool  # noqa: PLW0603  (one a process, where something is rendered)
    with _lock:
        if _pool is None:
            _pool = Pool()
    return _pool.submit(job, *arguments, budget=settings.RENDER_SECONDS if budget is None else budget)
