"""Looks of staff under load and faults: no text without its row, and the chain stays whole."""

import resource
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psycopg
import pytest
from django.conf import settings

from tests.support.gemini import Gemini, Text
from tests.support.live import LiveServer, Member
from tests.support.waiting import until

CANARY = "a canary 51ab"
LOOKS = 200


@pytest.fixture
def servers(tmp_path: Path, gemini: Gemini, live_database: dict[str, str]) -> Iterator[list[LiveServer]]:
    """Start two servers on PostgreSQL, one on SQLite."""
    env = {"GOOGLE_API_KEY": "x", "GOOGLE_GEMINI_BASE_URL": gemini.url, "LIMITS": "off", **live_database}
    env |= {"SECRET_KEY": "s" * 60, "AUDIT_KEY_FILE": str(tmp_path / "audit.key")}
    gemini.on("x", [Text(CANARY)])
    started = []
    for name in ["one"] if settings.ON_SQLITE else ["one", "two"]:
        (tmp_path / name).mkdir()
        started.append(LiveServer(tmp_path / name, None, **env).prepare().start())
    yield started
    for server in started:
        if server.process:
            server.kill()


@pytest.fixture
def transcript(servers: list[LiveServer]) -> str:
    """Return the path of the transcript of a conversation of alice."""
    with servers[0].member("alice").ask("x") as stream:
        return f"/admin/chat/conversation/{stream.all_events()[0].json()['conversation']}/change/"


@pytest.fixture
def mona(servers: list[LiveServer], transcript: str) -> Member:
    """Return a moderator who has opened the conversation."""
    member = servers[0].member("mona")
    made = servers[0].manage(
        "shell",
        "-c",
        "from accounts.models import User; from django.contrib.auth.models import Group;"
        "user = User.objects.get(username='mona'); user.is_staff = True; user.save();"
        "user.groups.add(Group.objects.get(name='Moderator'))",
    )
    assert made.returncode == 0, made.stderr
    path = transcript.replace("/chat/conversation/", "/open/").replace("change/", "")
    opened = member.http.post(path, data={"reason": "report"}, headers=member.headers())
    assert opened.status_code == 303, opened.text[:500]
    return member


def recorded(server: LiveServer) -> int:
    """Return the number of recorded looks, after a check of the whole chain."""
    checked = server.manage("verify_audit")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    counted = server.manage(
        "shell",
        "-v0",
        "-c",
        "from chat.moderation.models import AuditEvent as Event;"
        "print(Event.objects.filter(action='look').count())",
    )
    return int(counted.stdout.split()[-1])


def test_200_looks_at_the_same_time_keep_the_chain_whole(
    servers: list[LiveServer], mona: Member, transcript: str
) -> None:
    clients = [mona.at(server.url) for server in servers]

    def look(number: int) -> bool:
        answer = clients[number % len(clients)].http.get(transcript)
        assert answer.status_code == 200
        return CANARY in answer.text

    with ThreadPoolExecutor(10) as pool:
        shown = sum(pool.map(look, range(LOOKS)))
    assert shown == LOOKS
    assert recorded(servers[0]) == LOOKS


@pytest.mark.skipif(not settings.ON_SQLITE, reason="a full disk is PostgreSQL's own matter")
def test_with_a_full_disk_no_text_is_shown(servers: list[LiveServer], mona: Member, transcript: str) -> None:
    (server,) = servers
    assert server.process is not None
    unlimited = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (0, unlimited[1]))
    answers = [mona.http.get(transcript) for _ in range(3)]
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, unlimited)
    assert {answer.status_code for answer in answers} == {503}
    assert not any(CANARY in answer.text for answer in answers)
    assert CANARY in mona.http.get(transcript).text
    assert recorded(server) == 1


@pytest.mark.skipif(settings.ON_SQLITE, reason="SQLite has no connections to cut")
def test_while_the_database_is_cut_off_no_text_is_shown_without_its_row(
    servers: list[LiveServer], mona: Member, transcript: str, live_database: dict[str, str]
) -> None:
    shown, over = [0], threading.Event()

    def look() -> None:
        while not over.is_set():
            try:
                answer = mona.http.get(transcript)
            except httpx.TransportError:
                continue
            assert answer.status_code in {200, 503, 302}, answer.status_code
            shown[0] += CANARY in answer.text

    looking = threading.Thread(target=look)
    looking.start()
    until(lambda: shown[0] > 0)
    with psycopg.connect(live_database["DATABASE_URL"], autocommit=True) as admin:
        for _ in range(20):
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            over.wait(0.1)
    over.set()
    looking.join()
    until(lambda: mona.http.get("/readyz").status_code == 200)
    # A look whose answer was cut after its commit is a row without a shown text, never the other way round.
    assert 0 < shown[0] <= recorded(servers[0])


@pytest.mark.parametrize("taken", ["role", "grant", "account"])
def test_what_is_taken_at_one_server_ends_at_the_other_with_the_next_look(
    servers: list[LiveServer], mona: Member, transcript: str, taken: str
) -> None:
    there = mona.at(servers[-1].url)
    assert CANARY in there.http.get(transcript).text
    code = {
        "role": "User.objects.get(username='mona').groups.clear()",
        "grant": "AccessGrant.objects.update(revoked_at='2026-01-01T00:00:00Z')",
        "account": "User.objects.filter(username='mona').update(is_active=False)",
    }[taken]
    imports = "from accounts.models import User; from chat.moderation.models import AccessGrant;"
    assert servers[0].manage("shell", "-c", imports + code).returncode == 0
    answer = there.http.get(transcript, follow_redirects=True)
    assert CANARY not in answer.text
    assert recorded(servers[0]) == 1
