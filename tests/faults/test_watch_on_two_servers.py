"""Live watch at another server than the run: decisions and ended grants reach it within ten seconds."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.conf import settings

from tests.support.gemini import Gemini, Hold, Text
from tests.support.live import LiveServer, Member, Stream
from tests.support.sse_client import SseEvent

pytestmark = pytest.mark.skipif(settings.ON_SQLITE, reason="by design, a SQLite file has only one server")

SHOWN, PROMISED_SECONDS = "shown quokka", 10
STAFF = """
from accounts.models import User
from django.contrib.auth.models import Group
from chat.moderation.models import Policy
Policy.objects.create(watches_live=True)
user = User.objects.get(username="mona")
user.is_staff = True
user.save()
user.groups.add(Group.objects.get(name="Moderator"))
"""


@pytest.fixture
def servers(
    tmp_path: Path, gemini: Gemini, live_database: dict[str, str]
) -> Iterator[tuple[LiveServer, LiveServer]]:
    env = {"GOOGLE_API_KEY": "x", "GOOGLE_GEMINI_BASE_URL": gemini.url, "LIMITS": "off", **live_database}
    env |= {"SECRET_KEY": "s" * 60, "AUDIT_KEY_FILE": str(tmp_path / "audit.key")}
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one = LiveServer(tmp_path / "one", None, **env).prepare().start()
    two = LiveServer(tmp_path / "two", None, **env).prepare().start()
    yield one, two
    gemini.release()
    for server in (one, two):
        if server.process:
            server.kill()


@pytest.fixture
def mona(servers: tuple[LiveServer, LiveServer]) -> Member:
    """Return a moderator at the second server."""
    one, two = servers
    member = two.member("mona")
    made = one.manage("shell", "-c", STAFF)
    assert made.returncode == 0, made.stderr
    return member


@contextmanager
def watched(
    servers: tuple[LiveServer, LiveServer], mona: Member, gemini: Gemini
) -> Iterator[tuple[SseEvent, Stream, Stream]]:
    """Yield the start of a run of alice at the first server, her stream there, and mona's at the second."""
    gemini.on("write", [Text(SHOWN), Hold(), Text(" never wombat")])
    with servers[0].member("alice").ask("write") as own:
        started = own.until("text")[0]
        opened = mona.http.post(
            f"/admin/open/{started.json()['conversation']}/",
            data={"reason": "incident"},
            headers=mona.headers(),
        )
        assert opened.status_code == 303, opened.text[:500]
        with mona.http.stream("GET", f"/admin/watch/{started.run}/events") as response:
            assert response.status_code == 200
            stream = Stream(response)
            assert SHOWN in stream.until("html")[-1].data
            yield started, own, stream


@pytest.mark.parametrize("do", ["stop", "hide"])
def test_a_decision_at_one_server_ends_the_run_at_the_other(
    servers: tuple[LiveServer, LiveServer], mona: Member, gemini: Gemini, do: str
) -> None:
    with watched(servers, mona, gemini) as (started, own, stream):
        began = time.monotonic()
        done = mona.http.post(
            f"/admin/watch/{started.run}/", data={"do": do, "reason": "harmful"}, headers=mona.headers()
        )
        assert done.status_code == 303, done.text[:500]
        for found in (own.all_events(), stream.all_events()):
            *before, end, last = [each for each in found if each.name != "html"]
            assert (end.name, end.json()["code"], last.is_done) == ("run.stopped", "moderated", True)
            assert [each.name for each in before] == (["replace"] if do == "hide" else [])
        assert time.monotonic() - began < PROMISED_SECONDS


def test_a_grant_that_is_ended_at_one_server_ends_the_watch_at_the_other(
    servers: tuple[LiveServer, LiveServer], mona: Member, gemini: Gemini
) -> None:
    with watched(servers, mona, gemini) as (started, own, stream):
        began = time.monotonic()
        here = mona.at(servers[0].url)
        page = here.http.get(f"/admin/chat/conversation/{started.json()['conversation']}/change/").text
        grant = page.partition('name="end" value="')[2].partition('"')[0]
        ended = here.http.post(
            f"/admin/open/{started.json()['conversation']}/", data={"end": grant}, headers=here.headers()
        )
        assert ended.status_code == 303
        assert stream.all_events() == []
        assert time.monotonic() - began < PROMISED_SECONDS
        gemini.release()
        assert own.all_events()[-1].is_done
