"""The socket: a tab receives what changed elsewhere, as ids without texts."""

import asyncio
import json
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from chat import changes, doorbell
from chat.models import Conversation, Ledger, Run
from chat.runs.supervisor import supervisor
from chat.socket import consumer, watching
from tests.support.client import Client, Socket
from tests.support.gemini import Gemini, Hold, Text

TURN = ["conversation", "run", "run_ended"]


def types(frames: list[dict[str, Any]]) -> list[str]:
    return [frame["type"] for frame in frames]


async def last_change(client: Client) -> int:
    return int((await sync_to_async(changes.last_of)([client.user.pk])).get(client.user.pk, 0))


# --- frames of changes ----------------------------------------------------------------------------


async def test_a_tab_hears_the_start_and_the_end_of_a_turn(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("Hello", [Text("Hel"), Hold(), Text("lo")])
    async with as_alice.socket() as socket:
        await socket.opened()
        async with as_alice.open("POST", "/chat/stream", json_body={"query": "Hello"}) as stream:
            started = (await anext(stream.events())).json()
            began = await socket.frames(2)
            assert await socket.silent()  # deltas send no frames
            gemini.release()
            ended = await socket.frame()
    named = {"conversation": started["conversation"], "run": started["run"]}
    assert began == [
        {"type": "conversation", "conversation": started["conversation"]},
        {"type": "run", **named},
    ]
    assert ended == {"type": "run_ended", **named}


async def test_the_next_turn_sends_only_the_frames_of_its_run(as_alice: Client) -> None:
    first = (await as_alice.ask("one"))[0].json()
    async with as_alice.socket() as socket:
        await socket.opened()
        second = (await as_alice.ask("two", conversation=first["conversation"]))[0].json()
        frames = await socket.frames(2)
        assert await socket.silent()
    assert types(frames) == ["run", "run_ended"]
    assert {(frame["conversation"], frame["run"]) for frame in frames} == {
        (first["conversation"], second["run"])
    }


@pytest.mark.parametrize("change", [{"title": "Better"}, {"pinned": True}, {"head": None}, None])
async def test_every_change_of_a_conversation_is_sent(
    as_alice: Client, change: dict[str, Any] | None
) -> None:
    started = (await as_alice.ask("one"))[0].json()
    path = f"/api/v1/conversations/{started['conversation']}"
    if change == {"head": None}:
        change = {"head": started["prompt"]}
    async with as_alice.socket() as socket:
        await socket.opened()
        answer = await as_alice.request("PATCH" if change else "DELETE", path, json_body=change)
        assert answer.status == (200 if change else 204)
        assert await socket.frame() == {"type": "conversation", "conversation": started["conversation"]}
        assert await socket.silent()


async def test_a_stop_is_sent(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("Hello", [Text("Hel"), Hold()])
    async with as_alice.socket() as socket:
        await socket.opened()
        async with as_alice.open("POST", "/chat/stream", json_body={"query": "Hello"}) as stream:
            run = (await anext(stream.events())).run
            await socket.frames(2)
            await as_alice.post(f"/chat/runs/{run}/stop")
            assert (await socket.frame())["type"] == "run_ended"


async def test_a_refused_question_is_not_sent(as_alice: Client) -> None:
    async with as_alice.socket() as socket:
        await socket.opened()
        assert (await as_alice.post("/chat/stream", {"query": " "})).status == 422
        assert (await as_alice.post("/chat/stream", {"query": "x", "agent": "nobody"})).status == 422
        assert await socket.silent(1)


async def test_every_tab_receives_the_same_frames(as_alice: Client) -> None:
    async with as_alice.socket() as one, as_alice.socket() as two:
        await one.opened()
        await two.opened()
        await as_alice.ask("Hello")
        heard = await one.frames(3)
        assert types(heard) == TURN
        assert await two.frames(3) == heard


# --- catching up ----------------------------------------------------------------------------------


async def test_a_tab_with_a_position_receives_the_changes_since_it(as_alice: Client) -> None:
    await as_alice.ask("one")
    seen = await last_change(as_alice)
    missed = (await as_alice.ask("two"))[0].json()
    async with as_alice.socket(f"/ws/?after={seen}") as socket:
        await socket.opened()
        frames = await socket.frames(3)
        assert await socket.silent(1)
    assert types(frames) == TURN
    assert {frame["conversation"] for frame in frames} == {missed["conversation"]}


async def test_a_tab_that_missed_nothing_receives_nothing(as_alice: Client) -> None:
    await as_alice.ask("one")
    for path in ("/ws/", f"/ws/?after={await last_change(as_alice)}"):
        async with as_alice.socket(path) as socket:
            await socket.opened()
            assert await socket.silent(1)


@pytest.mark.parametrize("after", ["99", "-1", "", "x", "1e3", "٣", "1" * 30])
async def test_a_tab_with_an_invalid_position_is_told_to_reload(as_alice: Client, after: str) -> None:
    await as_alice.ask("one")
    async with as_alice.socket(f"/ws/?after={after}") as socket:
        await socket.opened()
        assert await socket.frame() == {"type": "anew", "conversation": None}
        assert await socket.silent()


async def test_a_tab_that_missed_too_many_changes_is_told_to_reload(as_alice: Client) -> None:
    def make_many() -> None:
        Ledger.objects.create(owner=as_alice.user, last_change=1000)
        Conversation.objects.bulk_create(
            Conversation(owner=as_alice.user, agent="a", title="t", last_change=n) for n in range(1, 1001)
        )

    await sync_to_async(make_many)()
    async with as_alice.socket("/ws/?after=799") as socket:
        await socket.opened()
        assert await socket.frame() == {"type": "anew", "conversation": None}
    async with as_alice.socket("/ws/?after=800") as socket:
        await socket.opened()
        assert types(await socket.frames(200)) == ["conversation"] * 200
        assert await socket.silent()


async def test_a_lost_doorbell_delays_frames_by_a_second_at_most(
    as_alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doorbell, "ring_soon", lambda names: None)
    async with as_alice.socket() as socket:
        await socket.opened()
        await as_alice.ask("Hello")
        frames = [await socket.frame(2) for _ in range(3)]
        assert types(frames) == TURN


@pytest.fixture
def no_polling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "LOST_BELL_SECONDS", 3600)


async def test_the_doorbell_is_enough_without_polling(no_polling: None, as_alice: Client) -> None:
    async with as_alice.socket() as socket:
        await socket.opened()
        await as_alice.ask("Hello")
        assert types(await socket.frames(3)) == TURN


# --- recipients -----------------------------------------------------------------------------------


async def test_bob_receives_no_frames_about_alice(as_alice: Client, as_bob: Client) -> None:
    async with as_bob.socket("/ws/?after=0") as socket:
        await socket.opened()
        started = (await as_alice.ask("alice's canary 7f3a"))[0].json()
        path = f"/api/v1/conversations/{started['conversation']}"
        await as_alice.request("PATCH", path, json_body={"title": "canary"})
        await as_alice.request("DELETE", path)
        assert await socket.silent(1.5)
        his = (await as_bob.ask("bob's"))[0].json()
        assert {frame["conversation"] for frame in await socket.frames(3)} == {his["conversation"]}


async def test_a_moderator_receives_no_frames_about_members(as_alice: Client, parley: Any, mona: Any) -> None:
    as_mona = await Client(parley, mona).sign_in()
    async with as_mona.socket("/ws/?after=0") as socket:
        await socket.opened()
        await as_alice.ask("hello")
        assert await socket.silent(1.5)


async def test_no_frame_holds_text(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("canary 7f3a", [Text("canary 9c1d")])
    async with as_alice.socket() as socket:
        await socket.opened()
        started = (await as_alice.ask("canary 7f3a"))[0].json()
        path = f"/api/v1/conversations/{started['conversation']}"
        await as_alice.request("PATCH", path, json_body={"title": "canary 51ab"})
        await socket.frames(4)
    assert "canary" not in "".join(socket.text)
    for text in socket.text:
        assert set(json.loads(text)) <= {"type", "conversation", "run"}


# --- opening and closing --------------------------------------------------------------------------


async def closed_with(client: Client, **options: Any) -> int:
    async with client.socket(**options) as socket:
        await socket.opened()
        return await socket.closed()


async def test_a_visitor_is_closed_with_4401(visitor: Client, as_alice: Client) -> None:
    await as_alice.ask("hello")
    assert await closed_with(visitor) == 4401
    visitor.cookies["sessionid"] = "0" * 32
    assert await closed_with(visitor, path="/ws/?after=0") == 4401


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "https://testserver"},
        {"origin": "http://testserver:8001"},
        {"origin": "http://testserver.evil.example"},
        {"origin": "http://evil.example/testserver"},
        {"origin": "null"},
        {"origin": ""},  # same as no origin
        {"origin": "http://[broken"},
        {"origin": "http://evil.example", "host": "evil.example"},  # not one of ALLOWED_HOSTS
    ],
)
async def test_a_socket_of_another_site_is_closed_with_4401(
    as_alice: Client, headers: dict[str, str]
) -> None:
    assert await closed_with(as_alice, headers=headers) == 4401


async def test_a_socket_of_a_trusted_origin_is_accepted(as_alice: Client, settings: Any) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://chat.example.org"]
    async with as_alice.socket(headers={"origin": "https://chat.example.org"}) as socket:
        await socket.opened()
        assert await socket.silent()


async def test_other_socket_paths_are_refused(as_alice: Client) -> None:
    for path in ("/", "/ws", "/ws/x/", "/chat/stream", "/ws//"):
        async with as_alice.socket(path) as socket:
            assert await socket.refused()


async def test_a_sign_out_closes_only_that_browsers_sockets(
    as_alice: Client, parley: Any, alice: Any
) -> None:
    elsewhere = await Client(parley, alice).sign_in()
    async with as_alice.socket() as here, elsewhere.socket() as there:
        await here.opened()
        await there.opened()
        assert (await as_alice.post("/accounts/logout/")).status == 302
        assert await here.closed(2) == 4401
        await elsewhere.ask("still here")
        assert types(await there.frames(3)) == TURN


async def test_a_members_sockets_are_limited(as_alice: Client, as_bob: Client, settings: Any) -> None:
    settings.SOCKETS_PER_MEMBER = 2
    async with as_alice.socket() as one, as_alice.socket() as two, as_bob.socket() as his:
        for socket in (one, two, his):
            await socket.opened()
        assert await closed_with(as_alice) == 4429
        assert await one.silent()
    async with as_alice.socket() as again:  # closed sockets don't count
        await again.opened()
        assert await again.silent()


async def test_limits_off_lifts_the_limit_of_sockets(as_alice: Client, settings: Any) -> None:
    settings.SOCKETS_PER_MEMBER, settings.LIMITS = 1, False
    async with as_alice.socket() as one, as_alice.socket() as two:
        await one.opened()
        await two.opened()
        assert await two.silent()


# --- misbehaving clients, stopping servers --------------------------------------------------------


async def test_a_few_client_messages_are_ignored(as_alice: Client) -> None:
    async with as_alice.socket() as socket:
        await socket.opened()
        for _ in range(consumer.MESSAGES_A_MINUTE):
            socket.say('{"type": "ping"}')
        await as_alice.ask("Hello")
        assert types(await socket.frames(3)) == TURN


async def say_much(socket: Socket) -> None:
    socket.say("x" * (consumer.MESSAGE_MAX + 1))


async def say_often(socket: Socket) -> None:
    for _ in range(consumer.MESSAGES_A_MINUTE + 1):
        socket.say("x")


async def say_bytes(socket: Socket) -> None:
    await socket.send_to(bytes_data=b"\xff" * 2000)


@pytest.mark.parametrize("say", [say_much, say_often, say_bytes])
async def test_a_client_that_sends_too_much_is_closed(as_alice: Client, say: Any) -> None:
    async with as_alice.socket() as socket:
        await socket.opened()
        await say(socket)
        assert await socket.closed() == 4400


async def test_a_stopping_server_closes_its_sockets_and_opens_no_more(as_alice: Client) -> None:
    async with as_alice.socket() as socket:
        await socket.opened()
        await supervisor.drain()
        assert await socket.closed() == 4503
    assert await closed_with(as_alice) == 4503


async def test_a_socket_survives_a_database_outage(as_alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import OperationalError

    def away(*args: Any) -> Any:
        raise OperationalError("away")

    async with as_alice.socket() as socket:
        await socket.opened()
        with monkeypatch.context() as patched:
            patched.setattr(changes, "since", away)
            await as_alice.ask("Hello")
            assert await socket.silent()
        assert types(await socket.frames(3)) == TURN


async def test_closed_sockets_leave_no_tasks(as_alice: Client) -> None:
    before = asyncio.all_tasks()
    for _ in range(5):
        async with as_alice.socket() as socket:
            await socket.opened()
    assert watching.open_sockets() == 0
    assert asyncio.all_tasks() <= before  # one of those may have ended meanwhile


# --- the ledger -----------------------------------------------------------------------------------


async def test_two_runs_that_end_together_have_different_change_numbers(
    as_alice: Client, gemini: Gemini
) -> None:
    for n in range(4):
        gemini.on(f"q{n}", [Text("a"), Hold(), Text("b")])

    all_running = asyncio.Barrier(4)

    async def ask(n: int) -> None:
        async with as_alice.open("POST", "/chat/stream", json_body={"query": f"q{n}"}) as exchange:
            await exchange.until("text")
            await all_running.wait()
            gemini.release()
            await exchange.all_events()

    await asyncio.gather(*(ask(n) for n in range(4)))
    numbers = [each async for each in Run.objects.values_list("last_change", flat=True)]
    assert sorted(numbers) == [5, 6, 7, 8]
    assert await last_change(as_alice) == 8
