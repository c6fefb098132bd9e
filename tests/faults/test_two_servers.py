"""Two servers on one PostgreSQL: each can show, stop and take over the runs of the other."""

import json
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from websockets.exceptions import ConnectionClosed

from tests.support.gemini import Gemini, Hold, Pause, Text
from tests.support.live import LiveServer, Member, check_with_oracle, read_to_done
from tests.support.sse_client import SseEvent, text_of
from tests.support.waiting import until

pytestmark = pytest.mark.skipif(settings.ON_SQLITE, reason="by design, a SQLite file has only one server")


@pytest.fixture
def servers(
    tmp_path: Path, gemini: Gemini, live_database: dict[str, str]
) -> Iterator[tuple[LiveServer, LiveServer]]:
    env = {"GOOGLE_API_KEY": "x", "GOOGLE_GEMINI_BASE_URL": gemini.url, "LIMITS": "off", **live_database}
    env["SECRET_KEY"] = "s" * 60  # shared, so that both accept the same session
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one = LiveServer(tmp_path / "one", None, **env).prepare().start()
    two = LiveServer(tmp_path / "two", None, **env).prepare().start()
    yield one, two
    gemini.release()
    for server in (one, two):
        if server.process:
            server.kill()


def test_a_run_can_be_followed_at_the_other_server(
    servers: tuple[LiveServer, LiveServer], gemini: Gemini
) -> None:
    one, two = servers
    alice = one.member("alice")
    gemini.on("slow", [Text("a"), Hold(), *[Text(f" {n}") for n in range(20)]])
    with alice.ask("slow") as stream:
        here = stream.until("text")
        with alice.at(two.url).follow(here[0].run) as other:
            there = other.until("text")
        gemini.release()
    read_to_done(alice.at(two.url), there)
    read_to_done(alice, here)
    assert there == here
    check_with_oracle(one, [here, there])


def test_a_run_can_be_stopped_at_the_other_server(
    servers: tuple[LiveServer, LiveServer], gemini: Gemini
) -> None:
    one, two = servers
    alice = one.member("alice")
    gemini.on("slow", [Text("shown"), Hold(), Text(" never")])
    with alice.ask("slow") as stream:
        seen = stream.until("text")
        began = time.monotonic()
        answer = alice.at(two.url).stop(seen[0].run).json()
        assert time.monotonic() - began < 5
    assert (answer["status"], answer["text_length"]) == ("stopped", 5)
    read_to_done(alice, seen)
    check_with_oracle(one, [seen])


def test_the_other_server_finishes_the_run_of_a_dead_one(
    servers: tuple[LiveServer, LiveServer], gemini: Gemini
) -> None:
    one, two = servers
    alice = one.member("alice")
    gemini.on("slow", [Text("half"), Pause(60)], [Text("whole")])
    with alice.ask("slow") as stream:
        seen = stream.until("text")
        one.kill()
    read_to_done(alice.at(two.url), seen)
    assert text_of(seen) == "whole"
    assert [event.name for event in seen if event.name] == ["run.started", "replace", "run.completed"]
    check_with_oracle(two, [seen])


def test_a_frozen_server_writes_nothing_after_it_wakes(
    servers: tuple[LiveServer, LiveServer], gemini: Gemini
) -> None:
    one, two = servers
    alice = one.member("alice")
    zombie = [step for n in range(200) for step in (Text(f"zombie{n} "), Pause(0.05))]
    gemini.on("slow", [Text("half "), *zombie], [Text("whole")])
    with alice.ask("slow") as stream:
        seen = stream.until("text")
        assert one.process
        one.process.send_signal(signal.SIGSTOP)
        read_to_done(alice.at(two.url), seen)
        one.process.send_signal(signal.SIGCONT)
        time.sleep(2)
    assert text_of(seen) == "whole"
    check_with_oracle(two, [seen])


def test_one_key_at_two_servers_is_one_run(servers: tuple[LiveServer, LiveServer], gemini: Gemini) -> None:
    one, two = servers
    alice = one.member("alice")
    key = str(uuid.uuid4())

    def ask(n: int) -> list[SseEvent]:
        with alice.at((one.url, two.url)[n % 2]).ask("once", client_id=key) as stream:
            assert stream.response.status_code == 200
            return stream.all_events()

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(ask, range(20)))
    assert all(answer == answers[0] for answer in answers)
    assert gemini.calls_for("once") == 1
    check_with_oracle(one, answers)


def test_simultaneous_questions_at_two_servers_get_one_answer(
    servers: tuple[LiveServer, LiveServer], gemini: Gemini
) -> None:
    one, two = servers
    alice = one.member("alice")
    with alice.ask("first") as stream:
        first = stream.all_events()
    conversation = first[0].json()["conversation"]
    for n in range(10):
        gemini.on(f"race {n}", [Text("a"), Pause(0.2), Text("b")])
        ready = threading.Barrier(2)

        def ask(url: str, n: int = n, ready: threading.Barrier = ready) -> int:
            member: Member = alice.at(url)
            ready.wait()
            with member.ask(f"race {n}", conversation=conversation) as stream:
                stream.all_events()
                return stream.response.status_code

        with ThreadPoolExecutor(2) as pool:
            assert sorted(pool.map(ask, (one.url, two.url))) == [200, 409]
    check_with_oracle(one, [])


def test_a_stopping_server_hands_over_its_run(servers: tuple[LiveServer, LiveServer], gemini: Gemini) -> None:
    one, two = servers
    alice = one.member("alice")
    one.stop()
    one.env["DRAIN_SECONDS"] = "0.5"
    one.start()
    gemini.on("slow", [Text("half"), Pause(60)], [Text("whole")])
    with alice.ask("slow") as stream:
        seen = stream.until("text")
        assert one.stop() == 0
    read_to_done(alice.at(two.url), seen)
    assert text_of(seen) == "whole"
    there = alice.at(two.url)
    assert there.http.get(f"/api/v1/runs/{seen[0].run}").json()["attempt"] == 1
    check_with_oracle(two, [seen])


def code_of(socket: Any) -> int:
    """Read until the server closes the socket; return the close code."""
    with pytest.raises(ConnectionClosed) as closed:
        list(socket)
    assert closed.value.rcvd
    return int(closed.value.rcvd.code)


def receive(socket: Any, number: int) -> list[dict[str, Any]]:
    return [json.loads(socket.recv(timeout=20)) for _ in range(number)]


def test_a_tab_at_the_other_server_receives_the_events_of_a_turn(
    servers: tuple[LiveServer, LiveServer], gemini: Gemini
) -> None:
    one, two = servers
    gemini.on("slow", [Text("a"), Hold(), Text("b")])
    with one.member("alice") as alice, two.member("bob") as bob:
        with alice.at(two.url).socket() as there, bob.socket() as his:
            with alice.ask("slow") as stream:
                seen = stream.until("text")
                received = receive(there, 2)
                gemini.release()
                received += receive(there, 1)
            with pytest.raises(TimeoutError):
                his.recv(timeout=1)
    assert [frame["type"] for frame in received] == ["conversation", "run", "run_ended"]
    assert {frame["conversation"] for frame in received} == {seen[0].json()["conversation"]}


def test_a_sign_out_at_one_server_closes_the_sockets_at_the_other(
    servers: tuple[LiveServer, LiveServer],
) -> None:
    one, two = servers
    with one.member("alice") as alice:
        there = alice.at(two.url)
        with there.socket() as open_one:
            headers = {**alice.headers(), "Referer": one.url}
            assert alice.http.post("/accounts/logout/", headers=headers).status_code == 302
            # Without Redis, the doorbell stays in its process, and only a later check closes this socket.
            if settings.REDIS_URL:
                assert code_of(open_one) == 4401
        with there.socket() as new_one:
            assert code_of(new_one) == 4401


def test_two_servers_number_a_members_changes_without_a_gap(
    servers: tuple[LiveServer, LiveServer], gemini: Gemini
) -> None:
    one, two = servers
    with one.member("alice") as alice:

        def turn(n: int) -> None:
            gemini.on(f"turn {n}", [Text("x")])
            with alice.at((one.url, two.url)[n % 2]) as member, member.ask(f"turn {n}") as stream:
                stream.all_events()

        with alice.at(two.url).socket() as there:
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(turn, range(24)))
            received = receive(there, 72)
            with pytest.raises(TimeoutError):
                there.recv(timeout=1.5)
        counts = Counter((frame["type"], frame["conversation"]) for frame in received)
        assert len(counts) == 72
        assert set(counts.values()) == {1}
        with alice.at(one.url).socket(after=0) as replay:  # all of them again, from the ledger only
            again = receive(replay, 72)
        assert {json.dumps(frame) for frame in again} == {json.dumps(frame) for frame in received}


def _close_code(socket: Any) -> int | None:
    """Read what comes until the socket closes; return its code."""
    try:
        while True:
            socket.recv(timeout=10)
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else None


def end_by_sign_out(server: LiveServer, alice: Member) -> None:
    alice.http.post("/accounts/logout/", headers=alice.headers())


def end_by_deactivation(server: LiveServer, alice: Member) -> None:
    code = "from accounts.models import User; User.objects.filter(username='alice').update(is_active=False)"
    assert server.manage("shell", "-c", code).returncode == 0


def end_by_password(server: LiveServer, alice: Member) -> None:
    code = "u = User.objects.get(username='alice'); u.set_password('another horse battery'); u.save()"
    assert server.manage("shell", "-c", f"from accounts.models import User; {code}").returncode == 0


@pytest.mark.parametrize(
    ("end", "status"),
    [(end_by_sign_out, "completed"), (end_by_password, "completed"), (end_by_deactivation, "stopped")],
)
def test_a_sign_in_that_ends_at_one_server_ends_its_streams_and_sockets_at_the_other(
    servers: tuple[LiveServer, LiveServer], gemini: Gemini, end: Any, status: str
) -> None:
    one, two = servers
    alice = one.member("alice")
    there = alice.at(two.url)
    gemini.on("slow", [Text("shown"), Hold(), Text(" never shown")])
    with there.ask("slow") as stream, there.socket() as socket:
        run = stream.until("text")[0].run
        end(one, alice)
        began = time.monotonic()
        assert text_of(stream.all_events()) == ""
        assert _close_code(socket) == 4401
        assert time.monotonic() - began < 10
    gemini.release()
    code = f"from chat.models import Run; print(Run.objects.get(pk='{run}').status)"
    until(lambda: one.manage("shell", "-v0", "-c", code).stdout.strip() == status)


def test_a_suspension_at_one_server_stops_the_answer_at_the_other(
    servers: tuple[LiveServer, LiveServer], gemini: Gemini
) -> None:
    one, two = servers
    alice = one.member("alice")
    there = alice.at(two.url)
    gemini.on("slow", [Text("shown"), Hold(), Text(" never shown")])
    with there.ask("slow") as stream:
        stream.until("text")
        until = (
            "from accounts.models import User; User.objects.update(suspended_until='2099-01-01T00:00:00Z')"
        )
        assert one.manage("shell", "-c", until).returncode == 0
        began = time.monotonic()
        rest = stream.all_events()
        assert time.monotonic() - began < 10
    assert [event.name for event in rest][-2] == "run.stopped"
    for member in (alice, there):
        assert member.http.get("/").status_code == 200
        with member.ask("more") as refused:
            assert refused.response.status_code == 403


def test_a_deletion_at_one_server_stops_the_answer_at_the_other(
    servers: tuple[LiveServer, LiveServer], gemini: Gemini
) -> None:
    one, two = servers
    alice = one.member("alice")
    gemini.on("slow", [Text("shown"), Hold(), Text(" never shown")])
    with alice.at(two.url).ask("slow") as stream:
        conversation = stream.until("text")[0].json()["conversation"]
        deleted = alice.http.delete(f"/api/v1/conversations/{conversation}", headers=alice.headers())
        assert deleted.status_code == 204
        began = time.monotonic()
        rest = stream.all_events()
        assert time.monotonic() - began < 10
    assert (rest[-2].name, rest[-2].json()["code"]) == ("run.stopped", "deleted")
