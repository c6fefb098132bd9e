"""Replies of one MiB that are expensive to render never hold the event loop for long."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from chat.models import Message
from tests.support.client import Client
from tests.support.gemini import Gemini, Text

pytestmark = pytest.mark.any_database

SIZE = 1_000_000  # a reply has at most 1 MiB
PIECE = 20_000
HELD_MAX = 0.05  # seconds

HOSTILE = {
    "emphasis": "*a* ",
    "emphasis that does not end": "*a ",
    "links": "[a](b ",
    "addresses": "http://a.b/(((",
    "quotes in quotes": "> " * 50 + "a\n",
    "lists in lists": "\n".join("  " * n + "- a" for n in range(30)) + "\n",
    "formulas": "$a$ $$b ",
    "code": "```py\n'''\n",
    "a table": "|a|b|\n|-|-|\n" + "|`c|d`|" * 10 + "\n",
    "footnotes": "[^a] [^b]: ",
    "tags": "<b><think><details>",
    "a thought": "<think>**a** ",
    "one word": "x",
    "right to left": "\u202eא ",
}


@asynccontextmanager
async def held_at_most(limit: float) -> AsyncIterator[None]:
    """Fail if something holds the loop longer. Only CPU time counts: other processes share the machine."""
    longest, goes_on = 0.0, True

    async def watch() -> None:
        nonlocal longest
        last = time.thread_time()
        while goes_on:
            await asyncio.sleep(0)
            now = time.thread_time()
            longest, last = max(longest, now - last), now

    gc.collect()
    gc.freeze()  # a collection of everything that the tests have imported takes 0.1 s
    watching = asyncio.ensure_future(watch())
    yield
    goes_on = False
    await watching
    gc.unfreeze()
    assert longest <= limit


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_reply_never_holds_the_event_loop(
    as_alice: Client, gemini: Gemini, name: str
) -> None:
    text = (HOSTILE[name] * (SIZE // len(HOSTILE[name]) + 1))[:SIZE]
    gemini.on("Go", [Text(text[at : at + PIECE]) for at in range(0, SIZE, PIECE)])
    async with held_at_most(HELD_MAX):
        body = {"query": "Go"}
        async with as_alice.open("POST", "/chat/stream?view=html", json_body=body) as exchange:
            async for _chunk in exchange.chunks():
                pass
    stored = (await Message.objects.aget(role="assistant")).text
    assert text.removeprefix("<think>").startswith(stored)  # the limit counts bytes
    assert len(stored) > SIZE // 2
