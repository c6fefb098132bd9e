"""A reply that takes too long to render is shown as plain text, and no other request waits for it."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from chat.instruments import metrics
from chat.models import Conversation, Message
from chat.rendering import RENDERER_VERSION, render, renderer
from chat.rendering.pool import NotRendered
from chat.rendering.renderer import plain
from tests.support import oracle
from tests.support.client import Client
from tests.support.gemini import Gemini, Hold, Pause, Text
from tests.support.html_stream_client import Body, body_of, roots
from tests.support.live import LiveServer
from tests.support.sse_client import text_of
from tests.support.staff import open_as_staff, transcript
from tests.support.waiting import until
from tests.support.workers import forkers, seconds, workers

pytestmark = pytest.mark.any_database

VIEW = "/chat/stream?view=html"
# With the CPU time that each took at 0c53103, on the database's thread.
HOSTILE = {
    "a lexer that looks ahead": "```html+ng2\n" + "(" * 8_000 + "\n```\n",  # 1.5 s
    "more of it": "```html+ng2\n" + "(" * 19_900 + "\n```\n",  # 11 s
    "tags that close nothing": "<sub>" * 20_000 + "</kbd>" * 16_000,  # 1.6 s
    "formulas that do not end": "\n".join(" " * (n % 40) + "$$" for n in range(15_000)),  # 0.3 s
    "much markup": "*a* " * 50_000,  # 0.4 s: only its length is hostile
}
MEGABYTE = "*a* " * 250_000  # 1.7 s
LONG = "*word* <b> & so on\n" * 3_000  # 57 KB: 0.08 s
TOO_SHORT = 0.001  # seconds, for LONG


@pytest.fixture
def tiny_budget(settings: Any) -> Iterator[None]:
    """Set a budget that is too short for LONG, and enough for a word."""
    settings.RENDER_SECONDS = TOO_SHORT
    yield
    renderer._given_up.clear()


def given_up() -> float:
    return sum(metrics.renders_given_up.counts.values())


def is_whole(html: str, text: str) -> bool:
    """Return whether the HTML is well-formed blocks, or the plain text."""
    return html == plain(text) or (html.startswith("<") and "".join(roots(html)) == html)


async def reply() -> Message:
    found: Message = await Message.objects.filter(role="assistant").alatest("created_at")
    return found


# --- other requests -----------------------------------------------------------------------------------------


@asynccontextmanager
async def no_request_waits(client: Client, gemini: Gemini) -> AsyncIterator[None]:
    """Repeat three requests and a short sleep inside the block; fail if one of them takes long."""
    # On an idle machine the limit would be 250 ms. Here it is 2 s, and more if they took long before.
    gemini.on("hi", [Text("Hello")])
    longest: dict[str, float] = {}
    goes_on = True

    async def again(name: str, act: Callable[[], Awaitable[Any]]) -> None:
        while goes_on:
            began = time.monotonic()
            await act()
            longest[name] = max(longest.get(name, 0), time.monotonic() - began)

    acts: dict[str, Callable[[], Awaitable[Any]]] = {
        "/healthz": lambda: client.get("/healthz"),
        "/readyz": lambda: client.get("/readyz"),
        "an ask": lambda: client.post(VIEW, {"query": "hi"}),
        "10 ms": lambda: asyncio.sleep(0.01),
    }
    async with asyncio.TaskGroup() as group:
        for name, act in acts.items():
            group.create_task(again(name, act))
        await asyncio.sleep(0.5)
        allowed = 2 + 5 * max(longest.values())
        longest.clear()
        yield
        goes_on = False
    assert {act: wait for act, wait in longest.items() if wait > allowed} == {}, allowed


@pytest.mark.parametrize("name", HOSTILE)
async def test_no_request_waits_for_five_hostile_replies(
    as_alice: Client, as_bob: Client, gemini: Gemini, name: str
) -> None:
    texts = [f"{n}\n\n{HOSTILE[name]}" for n in range(5)]  # different ones: highlighted code is cached
    for n, text in enumerate(texts):
        gemini.on(f"hostile {n}", [Text(text)])
    async with no_request_waits(as_bob, gemini):
        answers = await asyncio.gather(*(as_alice.post(VIEW, {"query": f"hostile {n}"}) for n in range(5)))
    for text, answer in zip(texts, answers, strict=True):
        html = body_of(answer.events).html
        assert html == (await Message.objects.aget(text=text)).html
        assert is_whole(html, text)
    await oracle.acheck()


async def test_no_request_waits_for_a_streaming_hostile_text(
    as_alice: Client, as_bob: Client, gemini: Gemini
) -> None:
    text = HOSTILE["more of it"].replace("(\n", "((\n")  # not in any cache
    pieces = [text[at : at + 400] for at in range(0, len(text), 400)]
    gemini.on("hostile", [step for piece in pieces for step in (Text(piece), Pause(0.02))])
    async with no_request_waits(as_bob, gemini):
        answer = await as_alice.post(VIEW, {"query": "hostile"})
    assert is_whole(body_of(answer.events).html, text)


async def test_a_short_text_does_not_queue_behind_long_ones(as_alice: Client, settings: Any) -> None:
    settings.RENDER_SECONDS = 1.0
    long = [asyncio.ensure_future(renderer.render_in_time_async(f"{n} {MEGABYTE}")) for n in range(5)]
    await asyncio.sleep(0.1)
    assert await renderer.render_in_time_async("*short*") == '<p dir="auto"><em>short</em></p>'
    assert not any(one.done() for one in long)
    await asyncio.gather(*long)


# --- the text -------------------------------------------------------------------------------------------


async def test_a_reply_beyond_the_budget_is_stored_and_shown_as_plain_text(
    as_alice: Client, gemini: Gemini, tiny_budget: None
) -> None:
    gemini.on("long", [Text(LONG)])
    events = (await as_alice.post(VIEW, {"query": "long"})).events
    message = await reply()
    assert message.text == LONG
    assert message.html == plain(LONG) == body_of(events).html
    assert message.html.startswith('<p class="plain" dir="auto">*word* &lt;b&gt; &amp; so on\n')
    assert plain(LONG) in (await as_alice.get(f"/chat/{message.conversation_id}/")).text
    again = (await as_alice.get(f"/chat/runs/{events[0].run}/events?view=html")).events
    assert body_of(again).html == plain(LONG)
    await oracle.acheck()


async def test_a_long_reply_fits_the_usual_budget(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("long", [Text(LONG)])
    await as_alice.ask("long")
    assert (await reply()).html == render(LONG)


async def test_a_reader_of_a_plain_reply_ends_with_the_stored_html(
    as_alice: Client, gemini: Gemini, tiny_budget: None
) -> None:
    """A reply in ten pieces is shown while it streams, and tried once and not ten times."""
    text = LONG * 3
    size = len(text) // 10
    steps = [Text(text[at : at + size]) for at in range(0, len(text), size)]
    gemini.on("long", [step for piece in steps for step in (piece, Pause(0.15))])
    before, body = given_up(), Body()
    shown: list[str] = []
    for event in (await as_alice.post(VIEW, {"query": "long"})).events:
        if event.name == "html":
            body.take(event.json())
            shown.append(body.html)
    assert len(shown) > 3
    for html in shown:
        assert plain(text).startswith(html.removesuffix("</p>"))
    assert shown[-1] == (await reply()).html == plain(text)
    assert given_up() - before == 2  # once while it was written, once at its end


async def test_a_page_shows_a_streaming_reply_as_plain_text(
    as_alice: Client, as_mona: Client, gemini: Gemini, tiny_budget: None
) -> None:
    gemini.on("long", [Text(LONG), Hold(), Text("end")])
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "long"}) as exchange:
        conversation = (await exchange.until("text"))[0].json()["conversation"]
        assert plain(LONG) in (await as_alice.get(f"/chat/{conversation}/")).text
        await open_as_staff(as_mona, conversation)
        assert plain(LONG) in (await as_mona.get(transcript(conversation))).text
        gemini.release()
        await exchange.all_events()


@pytest.fixture
async def as_mona(parley: Any, mona: Any) -> Client:
    return await Client(parley, mona).sign_in()


@pytest.fixture
def old_reply(alice: Any, tiny_budget: None) -> Message:
    """Return a long reply whose HTML another version of the renderer wrote."""
    conversation = Conversation.objects.create(owner=alice, agent="chat_assistant", title="t")
    message = Message.objects.create(
        conversation=conversation, role="assistant", text=LONG, html="<p>old</p>", renderer_version=1
    )
    Conversation.objects.filter(pk=conversation.pk).update(head=message)
    return message


async def test_an_old_reply_is_shown_as_plain_text_and_tried_once(
    as_alice: Client, as_mona: Client, old_reply: Message
) -> None:
    await open_as_staff(as_mona, old_reply.conversation_id)
    before = given_up()
    for client, path in (
        (as_alice, f"/chat/{old_reply.conversation_id}/"),
        (as_mona, transcript(old_reply.conversation_id)),
        (as_alice, f"/chat/{old_reply.conversation_id}/"),
    ):
        answer = await client.get(path)
        assert answer.status == 200
        assert plain(LONG) in answer.text
    assert given_up() - before == 1


async def test_each_of_two_speakers_is_shown_as_plain_text(as_alice: Client, old_reply: Message) -> None:
    said = [{"type": "text", "agent": name, "text": f"{name} {LONG}"} for name in ("one", "two")]
    await Message.objects.filter(pk=old_reply.pk).aupdate(parts={"items": said})
    page = (await as_alice.get(f"/chat/{old_reply.conversation_id}/")).text
    for name in ("one", "two"):
        assert plain(f"{name} {LONG}".strip("\n")) in page


def test_rerender_stores_a_slow_reply_as_plain_text(old_reply: Message) -> None:
    call_command("rerender", stdout=StringIO())
    old_reply.refresh_from_db()
    assert (old_reply.html, old_reply.renderer_version) == (plain(LONG), RENDERER_VERSION)


async def test_failed_renders_are_counted_by_reason(
    as_alice: Client, gemini: Gemini, tiny_budget: None
) -> None:
    gemini.on("long", [Text(LONG)])
    name = 'parley_renders_given_up_total{reason="slow"}'
    before = _metric(await as_alice.get("/metrics"), name)
    await as_alice.ask("long")
    assert _metric(await as_alice.get("/metrics"), name) == before + 1


def _metric(answer: Any, name: str) -> float:
    return sum(float(line.split()[-1]) for line in answer.text.splitlines() if line.startswith(name))


# --- the processes ----------------------------------------------------------------------------------------


async def kill_busy_workers() -> None:
    """Send SIGKILL to each busy worker, until cancelled."""
    before = {pid: seconds([pid]) for pid in workers(os.getpid())}
    while True:
        for pid in workers(os.getpid()):
            if seconds([pid]) - before.get(pid, 0) > 0.05:
                os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(0.005)


async def test_a_text_whose_worker_is_killed_is_shown_as_plain_text(
    as_alice: Client, gemini: Gemini, settings: Any
) -> None:
    settings.RENDER_SECONDS = 30
    text = MEGABYTE
    gemini.on("long", [Text(text)])
    killer = asyncio.ensure_future(kill_busy_workers())
    events = await as_alice.ask("long")
    killer.cancel()
    message = await reply()
    assert text_of(events) == message.text == text
    assert message.html == plain(text)
    gemini.on("next", [Text("*next*")])
    await as_alice.ask("next")
    assert (await reply()).html == render("*next*")


@pytest.mark.parametrize("who", ["workers", "forkers", "all"])
async def test_idle_processes_that_are_killed_are_replaced(
    as_alice: Client, gemini: Gemini, who: str
) -> None:
    gemini.on("next", [Text("*next*")])
    me = os.getpid()
    async with asyncio.timeout(20):
        while not forkers(me):  # after its death the workers live on for a moment
            await as_alice.ask("next")
    victims = {"workers": workers(me), "forkers": forkers(me), "all": workers(me) + forkers(me)}[who]
    assert victims
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    before = given_up()
    await asyncio.gather(*(as_alice.ask("next") for _ in range(4)))
    assert {m.html async for m in Message.objects.filter(role="assistant")} == {render("*next*")}
    assert given_up() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_to_the_process_group_ends_no_renderer(as_alice: Client, number: int) -> None:
    """Ctrl-C and systemd reach every process; the server still renders while it drains."""
    await renderer.render_in_time_async("*one*")
    before = forkers(os.getpid()) + workers(os.getpid())
    for pid in before:
        os.kill(pid, number)
    await renderer.render_in_time_async("*two*")
    assert set(before) <= set(forkers(os.getpid()) + workers(os.getpid()))


async def test_a_logged_renderer_error_has_its_line_and_not_the_text(
    as_alice: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(NotRendered, match="failed"):
        await asyncio.wrap_future(renderer._call("part", {"secret-text": 1}, {}, False))
    assert "worker.py" in caplog.text
    assert "secret-text" not in caplog.text
    assert await renderer.render_in_time_async("*still*") == '<p dir="auto"><em>still</em></p>'


def test_a_renderer_has_no_secrets_and_a_server_no_parsers(tmp_path: Path, gemini: Gemini) -> None:
    server = (
        LiveServer(tmp_path, GOOGLE_API_KEY="secret-text", GOOGLE_GEMINI_BASE_URL=gemini.url)
        .prepare()
        .start()
    )
    try:
        gemini.on("hi", [Text("*Hello* $x$\n\n```python\n1\n```\n")])
        with server.member("alice").ask("hi") as stream:
            stream.all_events()
        assert server.process
        pid = server.process.pid
        mapped = [Path(f"/proc/{each}/maps").read_text() for each in (pid, *forkers(pid))]
        for parser in ("pyromark", "nh3", "math_core"):
            assert [parser in maps for maps in mapped] == [False, True]
        for each in forkers(pid) + workers(pid):
            environment = Path(f"/proc/{each}/environ").read_text()
            assert "secret-text" not in environment
            assert "DATA_DIR" not in environment
    finally:
        server.kill()


@pytest.mark.parametrize("way", ["killed", "killed at work", "stopped"])
def test_no_renderer_outlives_its_server(tmp_path: Path, gemini: Gemini, way: str) -> None:
    server = LiveServer(tmp_path, GOOGLE_API_KEY="x", GOOGLE_GEMINI_BASE_URL=gemini.url, RENDER_SECONDS="2")
    server.prepare().start()
    assert server.process
    pid = server.process.pid
    try:
        gemini.on("hi", [Text("Hello"), Hold(), Text(MEGABYTE)])
        with server.member("alice").ask("hi") as stream:
            left = forkers(pid) + workers(pid)
            assert len(left) >= 2  # started before the first request
            gemini.release()
            if way == "killed at work":
                before = seconds(workers(pid))
                until(lambda: seconds(workers(pid)) > before + 0.05)
            else:
                stream.all_events()
            left = forkers(pid) + workers(pid)
            if way == "stopped":
                server.stop()
            else:
                server.kill()
        until(lambda: not any(_lives(each) for each in left))
    finally:
        gemini.release()
        if server.process:
            server.kill()


def _lives(pid: int) -> bool:
    try:
        return b"chat.rendering.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
