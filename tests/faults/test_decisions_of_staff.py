"""Decisions of moderators on two servers: one of two wins, and each is obeyed at the other server."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from tests.support.gemini import Gemini, Hold, Text
from tests.support.live import LiveServer, Member, read_to_done
from tests.support.sse_client import text_of

pytestmark = pytest.mark.skipif(settings.ON_SQLITE, reason="by design, a SQLite file has only one server")

DECISIONS = 200
WITHIN = 10.0  # seconds in which each decision is obeyed everywhere
UNTIL = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 3 * 86_400))

# Replies of alice in the queue, all claimed by mona.
ITEMS = f"""
from datetime import timedelta
from django.utils import timezone
from accounts.models import User
from chat.models import Conversation, Message
from chat.moderation.models import ReviewItem
alice, mona = User.objects.get(username="alice"), User.objects.get(username="mona")
stored = Conversation.objects.create(owner=alice, agent="a", title="t")
replies = Message.objects.bulk_create(
    Message(conversation=stored, role="assistant", text="x") for _ in range({DECISIONS})
)
ReviewItem.objects.bulk_create(
    ReviewItem(
        message=each, conversation=stored, member=alice, claimed_by=mona,
        claimed_until=timezone.now() + timedelta(minutes=30),
    )
    for each in replies
)
print(*ReviewItem.objects.values_list("pk", flat=True))
"""


@pytest.fixture
def servers(tmp_path: Path, gemini: Gemini, live_database: dict[str, str]) -> Iterator[list[LiveServer]]:
    env = {"GOOGLE_API_KEY": "x", "GOOGLE_GEMINI_BASE_URL": gemini.url, "LIMITS": "off", **live_database}
    env |= {"SECRET_KEY": "s" * 60, "AUDIT_KEY_FILE": str(tmp_path / "audit.key")}
    started = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        started.append(LiveServer(tmp_path / name, None, **env).prepare().start())
    yield started
    gemini.release()
    for server in started:
        if server.process:
            server.kill()


@pytest.fixture
def alice(servers: list[LiveServer]) -> Member:
    return servers[0].member("alice")


@pytest.fixture
def mona(servers: list[LiveServer], alice: Member) -> Member:
    """Return a moderator, at the second server."""
    member = servers[0].member("mona")
    run_python(
        servers[0],
        "from accounts.models import User; from django.contrib.auth.models import Group;"
        "user = User.objects.get(username='mona'); user.is_staff = True; user.save();"
        "user.groups.add(Group.objects.get(name='Moderator'))",
    )
    return member.at(servers[1].url)


def run_python(server: LiveServer, code: str) -> str:
    done = server.manage("shell", "-v0", "-c", code)
    assert done.returncode == 0, done.stderr
    return done.stdout


def post(member: Member, path: str, **form: str) -> int:
    return member.http.post(path, data=form, headers=member.headers()).status_code


def decide(mona: Member, path: str, **form: str) -> None:
    status = post(mona, path, reason="harmful", words="Not here.", note="", **form)
    assert status == 303, status


def obeyed(holds: Callable[[], bool]) -> None:
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < WITHIN
        time.sleep(0.1)


def member_number(server: LiveServer, name: str) -> int:
    code = f"from accounts.models import User; print(User.objects.get(username='{name}').pk)"
    return int(run_python(server, code).split()[-1])


def test_of_two_decisions_at_the_same_time_one_wins_and_one_reads_a_conflict(
    servers: list[LiveServer], mona: Member
) -> None:
    items = run_python(servers[0], ITEMS).split()
    assert len(items) == DECISIONS
    clients = [mona.at(server.url) for server in servers]

    def both(item: str) -> list[int]:
        with ThreadPoolExecutor(2) as pool:
            forms = [{"do": "dismiss"}, {"do": "act", "hide": "true", "reason": "harmful"}]
            started = [
                pool.submit(post, client, f"/admin/moderation/{item}/", **form)
                for client, form in zip(clients, forms, strict=True)
            ]
            return sorted(each.result() for each in started)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(both, items))
    assert answers == [[303, 409]] * DECISIONS
    counted = run_python(
        servers[0],
        "from chat.moderation.models import AuditEvent as Event, ReviewItem as Item, Decision;"
        "print(Event.objects.filter(action__in=['item.actioned', 'item.dismissed']).count(),"
        "Item.objects.filter(status='actioned').count() - Decision.objects.count(),"
        "Event.objects.filter(action='decision.hide').count() - Decision.objects.count())",
    )
    assert counted.split()[-3:] == [str(DECISIONS), "0", "0"]
    assert servers[0].manage("verify_audit").returncode == 0


def test_a_reply_hidden_at_the_other_server_ends_without_its_text(
    servers: list[LiveServer], alice: Member, mona: Member, gemini: Gemini
) -> None:
    gemini.on("slow", [Text("a canary"), Hold(), Text(" never")])
    with alice.ask("slow") as stream:
        seen = stream.until("text")
        run, conversation = seen[0].run, seen[0].json()["conversation"]
        began = time.monotonic()
        hide_running(servers[0], run)
        seen += stream.all_events()
        assert time.monotonic() - began < WITHIN
    read_to_done(alice, seen)
    assert text_of(seen) == ""
    assert seen[-2].json()["code"] == "moderated"
    for server in servers:
        member = alice.at(server.url)
        assert "canary" not in member.http.get(f"/chat/runs/{run}/events").text
        assert "canary" not in member.http.get(f"/chat/{conversation}/").text
        assert "canary" not in member.http.get(f"/api/v1/conversations/{conversation}").text


def hide_running(server: LiveServer, run: str) -> None:
    """Hide in a process of its own, which executes no runs."""
    run_python(
        server,
        "from accounts.models import User; from chat.models import Run;"
        "from chat.moderation import decisions;"
        f"run = Run.objects.get(pk='{run}');"
        "decisions.hide_running(User.objects.get(username='mona'), run, decisions.Why('harmful'))",
    )


def test_a_lock_at_the_other_server_stops_the_run_and_refuses_every_way_to_ask(
    servers: list[LiveServer], alice: Member, mona: Member, gemini: Gemini
) -> None:
    gemini.on("slow", [Text("shown"), Hold(), Text(" never")])
    with alice.ask("slow") as stream:
        seen = stream.until("text")
        conversation = seen[0].json()["conversation"]
        began = time.monotonic()
        decide(mona, f"/admin/decide/{conversation}/", do="lock")
        seen += stream.all_events()
        assert time.monotonic() - began < WITHIN
    assert text_of(seen) == "shown"
    assert (seen[-2].json()["code"], seen[-1].is_done) == ("moderated", True)
    for ask in ({}, {"if_busy": "queue"}, {"stream": False}):
        answer = refusal(alice, {"query": "x", "conversation": conversation, **ask})
        assert answer["code"] == "locked"
        assert (answer["locked"]["reason"], answer["locked"]["words"]) == ("harmful", "Not here.")
    assert post(alice, f"/chat/{conversation}/", query="x") == 423


def refusal(member: Member, body: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = member.http.post("/chat/stream", json=body, headers=member.headers()).json()
    error: dict[str, Any] = found["error"]
    return error


def test_a_suspension_at_the_other_server_stops_runs_and_refuses_asks_and_ends_by_itself(
    servers: list[LiveServer], alice: Member, mona: Member, gemini: Gemini
) -> None:
    number = member_number(servers[0], "alice")
    gemini.on("slow", [Text("shown"), Hold(), Text(" never")])
    with alice.ask("slow") as stream:
        seen = stream.until("text")
        began = time.monotonic()
        decide(mona, f"/admin/members/{number}/decide/", do="suspend", until=UNTIL)
        seen += stream.all_events()
        assert time.monotonic() - began < WITHIN
    assert (seen[-2].json()["code"], seen[-1].is_done) == ("moderated", True)
    error = refusal(alice, {"query": "x"})
    assert (error["code"], error["reason"]) == ("suspended", "harmful")
    assert error["decision"]
    assert alice.http.get("/api/v1/conversations").status_code == 200
    run_python(
        servers[0],
        "from accounts.models import User; from datetime import timedelta; from django.utils import timezone;"
        "User.objects.filter(username='alice').update(suspended_until=timezone.now() - timedelta(seconds=1))",
    )
    gemini.on("again", [Text("Fine.")])
    with alice.ask("again") as stream:
        assert text_of(stream.all_events()) == "Fine."


def test_a_stop_at_the_other_server_keeps_what_was_shown(
    servers: list[LiveServer], alice: Member, mona: Member, gemini: Gemini
) -> None:
    gemini.on("slow", [Text("shown"), Hold(), Text(" never")])
    with alice.ask("slow") as stream:
        seen = stream.until("text")
        began = time.monotonic()
        run, conversation = seen[0].run, seen[0].json()["conversation"]
        decide(mona, f"/admin/decide/{conversation}/", do="stop", run=run)
        seen += stream.all_events()
        assert time.monotonic() - began < WITHIN
    assert (text_of(seen), seen[-2].json()["code"]) == ("shown", "moderated")


def test_an_open_socket_hears_of_a_decision(servers: list[LiveServer], alice: Member, mona: Member) -> None:
    number = member_number(servers[0], "alice")
    with alice.socket() as socket:
        decide(mona, f"/admin/members/{number}/decide/", do="warn")
        assert '"decision"' in socket.recv(timeout=WITHIN)
    error = refusal(alice, {"query": "x"})
    assert error["code"] == "warning"
    path = f"/api/v1/decisions/{error['decision']}/acknowledge"
    assert alice.http.post(path, headers=alice.headers()).status_code == 200
    obeyed(lambda: refusal(alice, {"query": ""})["code"] != "warning")
