"""The socket of a call: its gate, its frames, its ends. The call behind it is a double."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError
from django.utils import timezone

from accounts.models import User
from chat.agent.live import voices
from chat.calls import keeping
from chat.calls.closing import CallEnd, CallRefused
from chat.calls.models import LiveCall
from chat.instruments import metrics
from chat.live import call as live_call
from chat.models import Conversation, Process
from chat.runs.supervisor import supervisor
from chat.socket import call_client, call_frames, held_calls
from chat.socket.call_client import CallClient
from chat.socket.call_counts import CallCounts
from tests.support.calls import QUIET, FakeCalls, call_socket
from tests.support.client import Client
from tests.support.gemini import Gemini, Hold, Text
from tests.support.waiting import auntil


@pytest.fixture
async def calls(parley: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeCalls]:
    fake = FakeCalls()
    monkeypatch.setattr(live_call, "open_call", fake.open_call)
    monkeypatch.setattr(voices, "voice_of", lambda agent: None)
    yield fake
    for call in fake.opened:
        call.finish(CallEnd.HUNG_UP)
    await auntil(lambda: not held_calls._held)


@pytest.fixture
async def hers(alice: Any) -> Conversation:
    return await Conversation.objects.acreate(owner=alice, agent="a", title="t")


async def stored() -> LiveCall:
    return await LiveCall.objects.alatest("opened_at")


async def ended_with() -> str:
    async def is_ended() -> bool:
        return (await stored()).ended_at is not None

    await auntil(is_ended)
    return (await stored()).end_code


# --- opening --------------------------------------------------------------------------------------


async def test_a_member_calls_in_an_own_conversation(as_alice: Client, calls: FakeCalls, hers: Any) -> None:
    async with call_socket(as_alice, hers.pk) as page:
        call = await page.ready()
        assert call == str((await stored()).pk)
        assert metrics.open_calls_gauge.now() == 1
        page.sound(b"\1\0" * 100)
        for frame in ("start", "end", "mute", "stop"):
            page.say({"type": frame})
        page.say({"type": "text", "text": "Hello"})
        page.say({"type": "played", "ms": 1200})
        expected = [b"\1\0" * 100, "start", "end", "mute", "stop", ("read", "Hello"), ("played", 1200)]
        await auntil(lambda: calls.last.told == expected)
        calls.last.client.send({"type": "run", "run": "r"})
        calls.last.client.send_audio(b"\2\0" * 10)
        calls.last.client.send({"type": "turn"})
        assert await page.frame() == {"type": "run", "run": "r"}
        assert await page.frame() == b"\2\0" * 10
        assert await page.frame() == {"type": "turn"}
    await auntil(lambda: not calls.last.client)


@pytest.mark.parametrize("which", ["foreign", "missing", "deleted", "word", "upper"])
async def test_a_stranger_finds_no_conversation(
    as_alice: Client, as_bob: Client, calls: FakeCalls, hers: Any, which: str
) -> None:
    client = as_bob
    path = {
        "foreign": hers.pk,
        "missing": uuid.uuid4(),
        "deleted": hers.pk,
        "word": "word",
        "upper": str(hers.pk).upper(),
    }[which]
    if which in ("deleted", "upper"):
        client = as_alice
    if which == "deleted":
        await Conversation.objects.aupdate(deleted_at=timezone.now())
    async with call_socket(client, path) as page:
        assert await page.refused() == ("not_found", 4404)
    assert not calls.opened
    assert not await LiveCall.objects.aexists()


@pytest.mark.parametrize("headers", [{"origin": "https://evil.example"}, {"origin": ""}])
async def test_a_page_of_another_site_calls_nobody(
    as_alice: Client, calls: FakeCalls, hers: Any, headers: dict[str, str]
) -> None:
    async with call_socket(as_alice, hers.pk, headers=headers) as page:
        assert await page.refused() == ("not_signed_in", 4401)


async def test_a_visitor_calls_nobody(visitor: Client, calls: FakeCalls, hers: Any) -> None:
    for conversation in (hers.pk, uuid.uuid4()):
        async with call_socket(visitor, conversation) as page:
            assert await page.refused() == ("not_signed_in", 4401)


async def test_an_agent_without_a_voice_says_why(
    as_alice: Client, calls: FakeCalls, hers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_voice(agent: str) -> None:
        raise voices.NoVoice("This agent is a workflow.")

    monkeypatch.setattr(voices, "voice_of", no_voice)
    async with call_socket(as_alice, hers.pk) as page:
        await page.socket.opened()
        error = {"type": "error", "code": "no_voice", "detail": "This agent is a workflow."}
        assert await page.frame() == error
        assert await page.closed() == ("", 4403)
    assert not await LiveCall.objects.aexists()


async def test_a_locked_conversation_and_a_suspended_member_take_no_call(
    as_alice: Client, calls: FakeCalls, hers: Any
) -> None:
    until = timezone.now() + timedelta(days=1)
    await User.objects.filter(pk=as_alice.user.pk).aupdate(suspended_until=until)
    async with call_socket(as_alice, hers.pk) as page:
        assert await page.refused() == ("suspended", 4423)
    await Conversation.objects.aupdate(locked_at=timezone.now())
    async with call_socket(as_alice, hers.pk) as page:
        assert await page.refused() == ("locked", 4423)


async def test_a_member_has_one_call(as_alice: Client, as_bob: Client, calls: FakeCalls, hers: Any) -> None:
    other = await Conversation.objects.acreate(owner=as_alice.user, agent="a", title="t")
    his = await Conversation.objects.acreate(owner=as_bob.user, agent="a", title="t")
    async with call_socket(as_alice, hers.pk) as page:
        call = await page.ready()
        for conversation, named in ((hers.pk, ""), (other.pk, ""), (other.pk, call), (hers.pk, "x")):
            async with call_socket(as_alice, conversation, call=named) as second:
                assert await second.refused() == ("in_call", 4409)
        async with call_socket(as_bob, his.pk) as bobs:
            await bobs.ready()
        assert len(calls.opened) == 2


async def test_a_conversation_that_answers_takes_no_call(
    as_alice: Client, calls: FakeCalls, gemini: Gemini
) -> None:
    gemini.on("Hello", [Text("Hel"), Hold(), Text("lo")])
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "Hello"}) as stream:
        started = (await anext(stream.events())).json()
        async with call_socket(as_alice, started["conversation"]) as page:
            assert await page.refused() == ("busy", 4409)


async def test_the_minutes_of_a_day_are_limited(
    as_alice: Client, calls: FakeCalls, hers: Any, settings: Any
) -> None:
    settings.LIVE_MINUTES_A_DAY = 1
    now = timezone.now()
    await LiveCall.objects.acreate(
        owner=as_alice.user, conversation=hers, opened_at=now, ended_at=now, seconds_in=59
    )
    async with call_socket(as_alice, hers.pk) as page:
        await page.ready()
        calls.last.client.send_audio(bytes(48_000 * 2))  # two seconds
        assert await page.closed() == ("too_many", 4429)
    assert await ended_with() == "too_many"
    async with call_socket(as_alice, hers.pk) as page:
        assert await page.refused() == ("too_many", 4429)


async def test_a_draining_process_and_one_without_a_database_open_no_call(
    as_alice: Client, calls: FakeCalls, hers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: Any, **options: Any) -> Any:
        raise OperationalError("away")

    with monkeypatch.context() as patched:
        patched.setattr(keeping, "admit", away)
        async with call_socket(as_alice, hers.pk) as page:
            assert await page.refused() == ("unavailable", 4503)
    await supervisor.drain()
    async with call_socket(as_alice, hers.pk) as page:
        assert await page.refused() == ("unavailable", 4503)


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (RuntimeError("a fault"), ("failed", 4503)),
        (CallRefused(CallEnd.NO_VOICE), ("no_voice", 4403)),
    ],
)
async def test_a_call_that_cannot_be_opened_ends(
    as_alice: Client, calls: FakeCalls, hers: Any, error: Exception, answer: tuple[str, int]
) -> None:
    calls.error = error
    async with call_socket(as_alice, hers.pk) as page:
        assert await page.refused() == answer
    assert await ended_with() == answer[0]
    calls.error = None
    async with call_socket(as_alice, hers.pk) as page:
        await page.ready()


# --- hanging up, losing and resuming --------------------------------------------------------------


@pytest.mark.parametrize("code", [1000, 1005])
async def test_a_page_that_closes_its_socket_hangs_up(
    as_alice: Client, calls: FakeCalls, hers: Any, code: int
) -> None:
    async with call_socket(as_alice, hers.pk) as page:
        first = await page.ready()
        page.sound(bytes(32_000))
        await page.leave(code)
    assert await ended_with() == "hung_up"
    call = await stored()
    assert (call.seconds_in, call.handle) == (1.0, None)
    async with call_socket(as_alice, hers.pk) as page:
        assert await page.ready() != first


async def test_a_lost_socket_is_resumed_in_the_same_process(
    as_alice: Client, calls: FakeCalls, hers: Any
) -> None:
    async with call_socket(as_alice, hers.pk) as page:
        call = await page.ready()
        await page.leave(1006)
    assert (await stored()).lost_at
    async with call_socket(as_alice, hers.pk) as page:
        assert await page.ready() == call
        page.sound()
        await auntil(lambda: QUIET in calls.last.told)
        assert len(calls.opened) == 1
        row = await stored()
        assert (row.lost_at, row.epoch) == (None, 1)


async def test_a_page_with_the_calls_name_takes_it_over(
    as_alice: Client, calls: FakeCalls, hers: Any
) -> None:
    async with call_socket(as_alice, hers.pk) as one:
        call = await one.ready()
        async with call_socket(as_alice, hers.pk, call=call) as two:
            assert await two.ready() == call
            assert await one.closed() == ("taken_over", 4409)
            one.sound(b"\7\7")
            two.sound()
            await auntil(lambda: calls.last.told == [QUIET])
            await one.leave(1000)  # this socket has no call to hang up
            assert (await stored()).ended_at is None
            two.sound()
            await auntil(lambda: calls.last.told == [QUIET, QUIET])


async def test_another_process_takes_the_call_over(as_alice: Client, calls: FakeCalls, hers: Any) -> None:
    async with call_socket(as_alice, hers.pk) as page:
        call = uuid.UUID(await page.ready())
        there = await Process.objects.acreate(host="h", pid=1, boot_id="b", version="v")
        row = await sync_to_async(keeping.admit)(as_alice.user, hers.pk, there.pk, call=call)
        assert row.epoch == 2
        assert await page.closed() == ("taken_over", 4409)
        assert calls.last.closing == CallEnd.TAKEN_OVER
    assert (await stored()).ended_at is None
    # and back again
    async with call_socket(as_alice, hers.pk, call=str(call)) as page:
        await page.ready()
        assert (await stored()).epoch == 3
        assert len(calls.opened) == 2


async def test_of_sockets_at_the_same_time_one_has_the_call(
    as_alice: Client, calls: FakeCalls, hers: Any
) -> None:
    async def answer() -> str:
        async with call_socket(as_alice, hers.pk) as page:
            await page.socket.opened()
            found: str = (await page.frame())["type"]
            await all_have_answered.wait()
            return found

    all_have_answered = asyncio.Barrier(5)
    answers = await asyncio.gather(*(answer() for _ in range(5)))
    assert sorted(answers) == ["error"] * 4 + ["ready"]
    assert len(calls.opened) == 1


async def test_sockets_that_take_over_at_the_same_time_share_one_call(
    as_alice: Client, calls: FakeCalls, hers: Any
) -> None:
    async with call_socket(as_alice, hers.pk) as page:
        call = await page.ready()
        await page.leave(1006)

    async def take() -> None:
        async with call_socket(as_alice, hers.pk, call=call) as page:
            await page.ready()
            await all_ready.wait()

    all_ready = asyncio.Barrier(4)
    await asyncio.gather(*(take() for _ in range(4)))
    assert len(calls.opened) == 1
    assert await LiveCall.objects.acount() == 1


async def test_a_call_ends_when_its_grace_is_over(
    as_alice: Client, calls: FakeCalls, hers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with call_socket(as_alice, hers.pk) as page:
        await page.ready()
        await page.leave(1006)
    long_ago = timezone.now() - timedelta(seconds=31)
    await LiveCall.objects.aupdate(seen_at=long_ago)
    await sync_to_async(keeping.end_lost)()
    await auntil(lambda: calls.last.closing == CallEnd.LOST)
    assert await ended_with() == "lost"


async def test_a_call_that_outlasts_the_drain_says_that_it_resumes(
    as_alice: Client, calls: FakeCalls, hers: Any
) -> None:
    async with call_socket(as_alice, hers.pk) as page:
        await page.ready()
        held_calls.close_calls()
        assert await page.frame() == {"type": "resuming"}
        assert await page.closed() == ("", 1012)


async def test_a_drain_lets_another_process_resume(as_alice: Client, calls: FakeCalls, hers: Any) -> None:
    async with call_socket(as_alice, hers.pk) as page:
        await page.ready()
        calls.last.client.send({"type": "resuming"})
        calls.last.finish(CallEnd.RESUMING)
        assert await page.frame() == {"type": "resuming"}
        assert await page.closed() == ("", 1012)
        row = await stored()
        assert row.lost_at
        assert row.ended_at is None
    async with call_socket(as_alice, hers.pk) as page:
        await page.ready()
        await supervisor.drain()
        assert await page.closed() == ("", 1012)


# --- rights ---------------------------------------------------------------------------------------


async def test_a_sign_out_ends_the_call_of_that_browser(
    as_alice: Client, calls: FakeCalls, hers: Any
) -> None:
    async with call_socket(as_alice, hers.pk) as page:
        await page.ready()
        assert (await as_alice.post("/accounts/logout/")).status == 302
        assert await page.closed() == ("not_signed_in", 4401)
    assert await ended_with() == "not_signed_in"
    assert calls.last.closing == CallEnd.SIGNED_OUT


@pytest.mark.parametrize(
    ("model", "changed", "answer"),
    [
        (Conversation, {"locked_at": timezone.now()}, ("locked", 4423)),
        (User, {"suspended_until": timezone.now() + timedelta(days=1)}, ("suspended", 4423)),
        (User, {"is_active": False}, ("not_signed_in", 4401)),
        (LiveCall, {"opened_at": timezone.now() - timedelta(hours=1)}, ("too_long", 4408)),
    ],
)
async def test_a_call_ends_with_the_rights_to_it(
    as_alice: Client, calls: FakeCalls, hers: Any, model: Any, changed: Any, answer: tuple[str, int]
) -> None:
    async with call_socket(as_alice, hers.pk) as page:
        await page.ready()
        await model.objects.aupdate(**changed)
        assert await page.closed() == answer
    assert await ended_with() == answer[0]


async def test_the_deletion_of_its_conversation_ends_a_call(
    as_alice: Client, calls: FakeCalls, hers: Any
) -> None:
    async with call_socket(as_alice, hers.pk) as page:
        await page.ready()
        path = f"/api/v1/conversations/{hers.pk}"
        assert (await as_alice.request("DELETE", path)).status == 204
        assert await page.closed() == ("not_found", 4404)


async def test_a_call_in_which_nobody_speaks_ends(
    as_alice: Client, calls: FakeCalls, hers: Any, settings: Any
) -> None:
    settings.LIVE_IDLE_SECONDS = 2
    async with call_socket(as_alice, hers.pk) as page:
        await page.ready()

        async def listen() -> None:
            while True:  # silence of an open microphone
                page.sound()
                await asyncio.sleep(0.1)

        microphone = asyncio.ensure_future(listen())
        calls.last.client.send({"type": "turn"})
        began = asyncio.get_running_loop().time()
        assert await page.closed() == ("idle", 4408)
        assert asyncio.get_running_loop().time() - began > 1.5
        microphone.cancel()


async def test_a_call_survives_an_outage_of_the_database(
    as_alice: Client, calls: FakeCalls, hers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: Any) -> Any:
        raise OperationalError("away")

    monkeypatch.setattr(held_calls, "RENEW_SECONDS", 0.05)
    async with call_socket(as_alice, hers.pk) as page:
        await page.ready()
        with monkeypatch.context() as patched:
            patched.setattr(keeping, "ends_of", away)
            await asyncio.sleep(1.3)
        page.sound()
        await auntil(lambda: QUIET in calls.last.told)


async def test_seconds_and_turns_are_stored_every_second(
    as_alice: Client, calls: FakeCalls, hers: Any
) -> None:
    async with call_socket(as_alice, hers.pk) as page:
        await page.ready()
        page.sound(bytes(16_000))
        calls.last.client.send({"type": "run", "run": "r"})
        calls.last.client.send_audio(bytes(24_000))

        async def is_stored() -> bool:
            row = await stored()
            return (row.seconds_in, row.seconds_out, row.turns) == (0.5, 0.5, 1)

        await auntil(is_stored)


# --- frames that are no part of a call ------------------------------------------------------------

WAV = b"RIFF\x24\0\0\0WAVEfmt " + bytes(100)


@pytest.mark.parametrize(
    "sound",
    [b"\0", b"\0" * 641, b"", WAV, b"OggS" + bytes(100), b'{"type": "text", "text": "x"}  ', b"[1]" + b" "],
    ids=["half a sample", "an odd number", "empty", "WAV", "Ogg", "JSON", "a list"],
)
async def test_binary_that_is_no_sound_ends_the_call(
    as_alice: Client, calls: FakeCalls, hers: Any, sound: bytes
) -> None:
    async with call_socket(as_alice, hers.pk) as page:
        await page.ready()
        page.sound(sound)
        assert await page.closed() == ("malformed", 4400)
    assert calls.last.told in ([], [("detach", False)])
    assert await ended_with() == "malformed"


async def test_samples_that_look_like_text_are_sound(as_alice: Client, calls: FakeCalls, hers: Any) -> None:
    async with call_socket(as_alice, hers.pk) as page:
        await page.ready()
        for pcm in (b'{"' * 160, b"{}" * 2, b"[\0" * 10, b"RIFT"):
            page.sound(pcm)
            await auntil(lambda sent=pcm: sent in calls.last.told)  # type: ignore[misc]


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "null", "[]", "1", '"start"', "{", "{}", '{"type": null}', '{"type": []}', '{"type": "x"}',
        '{"type": "start", "more": 1}', '{"type": "text"}', '{"type": "text", "text": 1}',
        '{"type": "text", "text": " "}', '{"type": "text", "text": "\\u0000"}',
        '{"type": "text", "text": "\\ud800"}', '{"type": "text", "text": "a", "files": []}',
        '{"type": "played"}', '{"type": "played", "ms": -1}',
        '{"type": "played", "ms": true}', '{"type": "played", "ms": 1e999}', '{"type": "played", "ms": "1"}',
        '{"type": "ready"}', "[" * 10_000, "\0\1\2", "RIFF",
    ],
)  # fmt: skip
async def test_text_that_is_no_frame_ends_the_call(
    as_alice: Client, calls: FakeCalls, hers: Any, text: str
) -> None:
    async with call_socket(as_alice, hers.pk) as page:
        await page.ready()
        page.say(text)
        assert await page.closed() == ("malformed", 4400)
    assert await ended_with() == "malformed"


async def test_typed_words_have_the_limit_of_a_question(
    as_alice: Client, calls: FakeCalls, hers: Any, settings: Any
) -> None:
    settings.MESSAGE_MAX_BYTES = 1024
    async with call_socket(as_alice, hers.pk) as page:
        await page.ready()
        page.say({"type": "text", "text": "x" * 1024})
        await auntil(lambda: calls.last.told == [("read", "x" * 1024)])
        page.say({"type": "text", "text": "x" * 1025})
        assert (await page.frame())["detail"] == "The message is longer than 1 KiB."


def floods() -> dict[str, Any]:
    return {
        "48 kHz": [bytes(9600)] * 20,  # two seconds of it, within the limit of frames
        "huge": [bytes(call_frames.AUDIO_FRAME_MAX + 2)],
        "tiny": [b"\0\0"] * 201,
        "text": [json.dumps({"type": "mute"})] * 201,
        "typed": [json.dumps({"type": "text", "text": "x"})] * 61,
    }


@pytest.mark.parametrize("kind", floods())
async def test_too_much_input_ends_the_call_and_nobody_else_notices(
    as_alice: Client, as_bob: Client, calls: FakeCalls, hers: Any, kind: str
) -> None:
    his = await Conversation.objects.acreate(owner=as_bob.user, agent="a", title="t")
    async with call_socket(as_alice, hers.pk) as page, call_socket(as_bob, his.pk) as bobs:
        await page.ready()
        await bobs.ready()
        for frame in floods()[kind]:
            (page.say if isinstance(frame, str) else page.sound)(frame)
        assert await page.closed() == ("too_much", 4400)
        bobs.sound()
        await auntil(lambda: calls.last.told == [QUIET])
    assert (await LiveCall.objects.aget(owner=as_alice.user)).end_code == "too_much"


async def test_a_microphone_is_within_the_limits(as_alice: Client, calls: FakeCalls, hers: Any) -> None:
    async with call_socket(as_alice, hers.pk) as page:
        await page.ready()
        for _ in range(100):  # two seconds at a time, which the network has kept back
            page.sound()
        await auntil(lambda: len(calls.last.told) == 100)


def test_a_window_forgets_what_is_older() -> None:
    now = 100.0
    window = call_frames.Window(10, 2, lambda: now)
    for _ in range(6):
        window.add(5)
        now += 1
    window.add(5)
    with pytest.raises(CallRefused):
        window.add(1)
    now += 2
    window.add(10)


# --- readers that are slow ------------------------------------------------------------------------


class SlowReader:
    """Reader that takes a message only when it is released."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        self.released = asyncio.Event()

    async def send(self, message: dict[str, Any]) -> None:
        await self.released.wait()
        self.taken.append(message)


async def test_a_slow_reader_loses_audio_and_no_text() -> None:
    reader, client = SlowReader(), CallClient(CallCounts(LiveCall()))
    sending = asyncio.ensure_future(client.run(reader.send))
    dropped = metrics.dropped_audio_bytes.counts.get((), 0)
    for number in range(100):
        client.send_audio(bytes(48_000))  # a second
        client.send({"type": "heard", "text": str(number), "final": False})
        await asyncio.sleep(0)
    assert client._audio_unsent <= call_client.AUDIO_UNSENT_MAX
    reader.released.set()
    client.close(CallEnd.HUNG_UP)
    assert await sending == 1000
    texts = [json.loads(message["text"]) for message in reader.taken if "text" in message]
    assert [frame["text"] for frame in texts] == [str(number) for number in range(100)]
    assert metrics.dropped_audio_bytes.counts[()] > dropped


async def test_audio_in_large_pieces_is_kept_as_far_as_there_is_room() -> None:
    reader, client = SlowReader(), CallClient(CallCounts(LiveCall()))
    client.send_audio(bytes(2 * call_client.AUDIO_UNSENT_MAX))
    reader.released.set()
    sending = asyncio.ensure_future(client.run(reader.send))
    await auntil(lambda: not client._unsent)
    assert sum(len(message["bytes"]) for message in reader.taken) == call_client.AUDIO_UNSENT_MAX
    sending.cancel()


async def test_an_interruption_drops_the_audio_that_is_unsent() -> None:
    reader, client = SlowReader(), CallClient(CallCounts(LiveCall()))
    client.send_audio(bytes(1000))
    client.send({"type": "interrupted"})
    client.send_audio(bytes(10))
    reader.released.set()
    client.close(CallEnd.HUNG_UP)
    assert await client.run(reader.send) == 1000
    assert reader.taken == [{"type": "websocket.send", "text": '{"type": "interrupted"}'}]


async def test_a_socket_that_leaves_its_frames_unread_is_closed() -> None:
    reader, client = SlowReader(), CallClient(CallCounts(LiveCall()))
    for _ in range(30):
        client.send({"type": "heard", "text": "x" * 20_000, "final": False})
    reader.released.set()
    assert await client.run(reader.send) == 1013
    assert not reader.taken


# --- written asks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("if_busy", ["refuse", "queue", "interrupt"])
async def test_a_written_ask_is_refused_during_a_call(
    as_alice: Client, calls: FakeCalls, if_busy: str
) -> None:
    started = (await as_alice.ask("Hello"))[0].json()
    ask = {"query": "and?", "conversation": started["conversation"], "if_busy": if_busy}
    async with call_socket(as_alice, started["conversation"]) as page:
        await page.ready()
        answer = await as_alice.post("/chat/stream", ask)
        assert (answer.status, answer.json()["error"]["code"]) == (409, "in_call")
        again = await as_alice.post("/chat/stream", {"prompt": started["prompt"]})
        assert (again.status, again.json()["error"]["code"]) == (409, "in_call")
        assert (await as_alice.post("/chat/stream", {"query": "elsewhere"})).status == 200
        await page.leave(1006)
    assert (await as_alice.post("/chat/stream", ask)).status == 200  # and ends the call
    assert await ended_with() == "written"
    await auntil(lambda: calls.last.closing is not None)
    assert calls.last.closing == CallEnd.WRITTEN
