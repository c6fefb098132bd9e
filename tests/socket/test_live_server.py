"""Calls on a real server: what Daphne's protocol accepts, slow readers, take-overs and drains."""

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from tests.support.gemini_live import GeminiLive, GenerationComplete, Sound, Spoken, TurnComplete, speech
from tests.support.live import LiveServer, Member
from tests.support.sse_client import text_of
from tests.support.waiting import until

pytestmark = pytest.mark.any_database

MEBIBYTE = 1024 * 1024
SECONDS_OF_SOUND = 120  # 5.8 MB: far more than all buffers


@pytest.fixture(scope="module")
def model() -> Iterator[GeminiLive]:
    speaking = GeminiLive()
    yield speaking
    speaking.close()


@pytest.fixture(scope="module")
def server(model: GeminiLive, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    live = LiveServer(tmp_path_factory.mktemp("calls"), None, **model.environment).prepare().start()
    yield live
    assert live.stop() == 0
    assert "Traceback" not in live.output(), live.output()


@pytest.fixture(scope="module")
def alice(server: LiveServer) -> Member:
    return server.member("alice")


@pytest.fixture(scope="module")
def bob(server: LiveServer) -> Member:
    return server.member("bob")


def conversation_of(member: Member) -> str:
    with member.ask("Hello") as stream:
        return str(stream.all_events()[0].json()["conversation"])


def opened(page: Any) -> str:
    frame = json.loads(page.recv(timeout=20))
    assert frame["type"] == "ready", frame
    return str(frame["call"])


def closed(page: Any) -> tuple[list[dict[str, Any]], int, int]:
    """Read to the close; return the frames, the bytes of sound and the close code."""
    frames, sound = [], 0
    try:
        while True:
            received = page.recv(timeout=60)
            if isinstance(received, bytes):
                sound += len(received)
            else:
                frames.append(json.loads(received))
    except ConnectionClosed:
        return frames, sound, int(page.close_code)


def until_turn(page: Any) -> tuple[list[dict[str, Any]], int]:
    """Read to the end of a turn; return the frames and the bytes of sound."""
    frames: list[dict[str, Any]] = []
    sound = 0
    while not frames or frames[-1]["type"] != "turn":
        received = page.recv(timeout=60)
        if isinstance(received, bytes):
            sound += len(received)
        else:
            frames.append(json.loads(received))
    return frames, sound


def metric(server: LiveServer, name: str) -> float:
    text = httpx.get(f"{server.url}/metrics").text
    found = re.search(rf"^{name} (\S+)$", text, flags=re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_a_turn_comes_over_the_wire(server: LiveServer, model: GeminiLive, alice: Member) -> None:
    model.on(
        "Hi", [Spoken("Hi "), Sound(400), Spoken("alice"), Sound(400), GenerationComplete(), TurnComplete()]
    )
    with alice.call(conversation_of(alice)) as page:
        opened(page)
        assert metric(server, "parley_open_calls") == 1
        page.send(json.dumps({"type": "text", "text": "Hi"}))
        frames, sound = until_turn(page)
        assert sound == 800 * 48
        run = next(frame["run"] for frame in frames if frame["type"] == "run")
        with alice.follow(run) as stream:
            events = stream.all_events()
        assert events[-2].name == "run.completed"
    until(lambda: metric(server, "parley_open_calls") == 0)


def test_a_member_types_then_pushes_to_talk_then_speaks_freely(
    server: LiveServer, model: GeminiLive, alice: Member
) -> None:
    model.on("typed", [Spoken("One."), Sound(40), TurnComplete()])
    model.on("pushed", [Spoken("Two."), Sound(40), TurnComplete()])
    model.on("free", [Spoken("Three."), Sound(40), TurnComplete()])
    conversation = conversation_of(alice)
    with alice.call(conversation) as page:
        opened(page)
        page.send(json.dumps({"type": "text", "text": "typed"}))
        until_turn(page)
        page.send(json.dumps({"type": "start"}))
        page.send(speech("pushed"))
        page.send(json.dumps({"type": "end"}))
        until_turn(page)
        page.send(bytes(8000))  # more than a few frames that come after the end of a push
        until(lambda: bool(model.connections[-1].audio) and not model.connections[-1].is_manual)
        page.send(speech("free"))
        until_turn(page)
    found = alice.http.get(f"/api/v1/conversations/{conversation}").json()["messages"]["items"]
    texts = [message["text"] for message in found]
    assert texts[2:] == ["typed", "One.", "pushed", "Two.", "free", "Three."]
    assert [connection.is_manual for connection in model.connections[-3:]] == [False, True, False]


def test_the_socket_of_changes_keeps_its_limits(server: LiveServer, alice: Member) -> None:
    with alice.socket() as page:
        page.send(b"\0" * 4096)
        assert closed(page)[2] == 4400  # the application's, of 1024
    with alice.socket() as page:
        page.send(b"\0" * 4097)
        assert closed(page)[2] == 1006


@pytest.mark.parametrize("size", [64 * 1024 + 2, MEBIBYTE])
def test_a_frame_has_a_limit(server: LiveServer, alice: Member, size: int) -> None:
    with alice.call(conversation_of(alice)) as page:
        opened(page)
        page.send(bytes(64 * 1024))  # the largest one
        page.send(bytes(size))
        assert closed(page)[2] == 4400


def test_a_refused_socket_keeps_the_small_limits(server: LiveServer, alice: Member, bob: Member) -> None:
    with bob.call(conversation_of(alice)) as page:
        frames, _sound, code = closed(page)
        assert ([frame["code"] for frame in frames], code) == (["not_found"], 4404)


def flood(page: Any, frame: Any) -> None:
    for _ in range(100_000):
        page.send(frame)


@pytest.mark.parametrize("frame", [b"\0\0", json.dumps({"type": "mute"})], ids=["sound", "text"])
def test_a_flood_ends_its_call_and_delays_nobody(
    server: LiveServer, alice: Member, bob: Member, frame: Any
) -> None:
    his = conversation_of(bob)
    with alice.call(conversation_of(alice)) as page, bob.call(his) as bobs:
        opened(page)
        opened(bobs)
        with pytest.raises(ConnectionClosed):
            flood(page, frame)
        began = time.monotonic()
        assert httpx.get(f"{server.url}/healthz").status_code == 200
        bobs.send(json.dumps({"type": "text", "text": "Hello"}))
        until_turn(bobs)
        assert time.monotonic() - began < 10
        assert page.close_code in (4400, 1006)


def test_a_slow_reader_loses_sound_and_no_frame(server: LiveServer, model: GeminiLive, alice: Member) -> None:
    words = [f"word{n} " for n in range(SECONDS_OF_SOUND)]
    steps = [step for word in words for step in (Spoken(word), Sound(1000))]
    model.on("Much", [*steps, GenerationComplete(), TurnComplete()])
    conversation = conversation_of(alice)
    before = metric(server, "parley_process_resident_memory_bytes")
    with alice.call(conversation) as page:  # its client stops reading after 16 frames
        opened(page)
        page.send(json.dumps({"type": "text", "text": "Much"}))
        until(lambda: metric(server, "parley_dropped_audio_bytes_total") > MEBIBYTE, 60)
        memory = metric(server, "parley_process_resident_memory_bytes") - before
        frames, sound = until_turn(page)
        run = next(frame["run"] for frame in frames if frame["type"] == "run")
        with alice.follow(run) as stream:
            text = text_of(stream.all_events())
    assert sound < SECONDS_OF_SOUND * 48_000
    assert text.split() == [word.strip() for word in words]
    assert memory < 48 * MEBIBYTE  # what the turn itself takes included


def test_a_page_takes_its_call_over(server: LiveServer, model: GeminiLive, alice: Member) -> None:
    conversation = conversation_of(alice)
    with alice.call(conversation) as one:
        call = opened(one)
        with alice.call(conversation) as refused:
            frames, _sound, code = closed(refused)
            assert (frames[0]["code"], code) == ("in_call", 4409)
        with alice.call(conversation, call) as two:
            assert opened(two) == call
            frames, _sound, code = closed(one)
            assert (frames[-1]["code"], code) == ("taken_over", 4409)
            two.send(json.dumps({"type": "text", "text": "Hello"}))
            until_turn(two)


def test_a_drain_closes_calls_and_the_next_server_resumes_them(
    model: GeminiLive, tmp_path_factory: pytest.TempPathFactory
) -> None:
    live = LiveServer(tmp_path_factory.mktemp("drained"), None, **model.environment).prepare().start()
    carol = live.member("carol")
    conversation = conversation_of(carol)
    with carol.call(conversation) as page:
        call = opened(page)
        page.send(json.dumps({"type": "text", "text": "Hello"}))
        until_turn(page)
        assert live.stop() == 0
        frames, _sound, code = closed(page)
        assert (frames[-1], code) == ({"type": "resuming"}, 1012)
    live.start()
    with carol.call(conversation, call) as page:
        assert opened(page) == call
        page.send(json.dumps({"type": "text", "text": "Again"}))
        until_turn(page)
        handle = model.connections[-1].handle
        assert handle
    live.kill()
