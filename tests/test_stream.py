"""POST /chat/stream: the seed's protocol, and what goes beside it."""

from typing import Any

from chat.models import Message, Run
from tests import oracle
from tests.client import Client
from tests.gemini import Gemini, Text
from tests.sse_client import terminal_of, text_of


async def test_a_question_is_answered_word_by_word_and_stored(
    as_alice: Client, gemini: Gemini, in_thread: Any
) -> None:
    gemini.on("Explain quantum computing", [Text("Quantum "), Text("computing "), Text("is odd.")])
    answer = await as_alice.post("/chat/stream", {"query": "Explain quantum computing"})
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "private, no-store, no-transform"
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.body.startswith(b"retry: 2000\n")
    events = answer.events
    assert text_of(events) == "Quantum computing is odd."
    assert [e.seq for e in events] == list(range(1, len(events) + 1))
    assert events[0].name == "run.started" and events[-1].is_done and terminal_of(events) is events[-2]
    run = await in_thread(lambda: Run.objects.select_related("reply").get())
    assert run.status == "completed" and run.reply.text == "Quantum computing is odd."
    await in_thread(oracle.check, [events])
    assert await in_thread(Message.objects.count) == 2
