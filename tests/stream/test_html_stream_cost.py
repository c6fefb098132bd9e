"""CPU time of ``?view=html`` in the server and its renderers: a 5 KB reply at 320 characters a second."""

import asyncio
import os
import time
import uuid
from collections.abc import AsyncGenerator

import pytest

from chat import events
from chat.events import Row
from chat.rendering import render
from chat.stream import html_view, sse
from tests.support.markdown import ANSWER
from tests.support.workers import seconds, workers

pytestmark = pytest.mark.any_database

CHARACTERS_A_SECOND = 320
DELTA = 8  # characters, which come in 25 ms
STREAMS = 5
SETTLED = 0.5  # seconds until the text from before the start has been rendered
TEXT = (ANSWER * 8)[:5000]


async def deltas(seconds: float) -> AsyncGenerator[list[Row], None]:
    """Yield a reply as the journal delivers it: its first half in one row, then the second half in deltas."""
    began, start = time.monotonic(), len(TEXT) // 2
    yield [Row(1, events.STARTED, "{}"), Row(2, events.TEXT, events.encode_json({"text": TEXT[:start]}))]
    n, last = 0, int(seconds * CHARACTERS_A_SECOND / DELTA)
    while n < last:
        await asyncio.sleep(max(0, began + n * DELTA / CHARACTERS_A_SECOND - time.monotonic()))
        due = min(last, int((time.monotonic() - began) * CHARACTERS_A_SECOND / DELTA) + 1)
        yield [_delta(each, start) for each in range(n, due)]  # like follow: all rows since the last batch
        n = due


def _delta(n: int, start: int) -> Row:
    at = start + n * DELTA
    return Row(3 + n, events.TEXT, events.encode_json({"text": TEXT[at : at + DELTA]}))


def cpu_seconds() -> float:
    return time.process_time() + seconds(workers(os.getpid()))


async def cpu_of(duration: float, *, html: bool) -> float:
    """Return the CPU seconds a stream and second, of all threads and workers, while text is streamed."""

    async def read() -> None:
        run = uuid.uuid4()
        rows = html_view.rows(run, deltas(duration), 0) if html else deltas(duration)
        async for _frame in sse.frames(run, rows):
            pass

    async with asyncio.TaskGroup() as group:
        for _ in range(STREAMS):
            group.create_task(read())
        await asyncio.sleep(SETTLED)
        began = cpu_seconds()
    return (cpu_seconds() - began) / STREAMS / (duration - SETTLED)


def cpu_of_whole_renders() -> float:
    """Return the CPU seconds a second that it takes to render the whole text for each frame."""
    render(TEXT)  # the first one fills caches
    frames = int(1 / html_view.FRAME_SECONDS)
    began = time.process_time()
    for n in range(frames):
        render(TEXT[: len(TEXT) // 2 + n * CHARACTERS_A_SECOND // frames])
    return time.process_time() - began


async def test_html_costs_less_than_half_of_rendering_the_whole_text_for_each_frame() -> None:
    as_text, as_html, whole = await cpu_of(4, html=False), await cpu_of(4, html=True), cpu_of_whole_renders()
    cost = as_html - as_text
    print(f"\n?view=html: {cost:.3%} of a core a stream (text: {as_text:.3%}, whole: {whole:.3%})")  # noqa: T201
    assert cost < whole / 2  # measured: a quarter to a third, on a busy machine
