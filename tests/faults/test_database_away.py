"""Database outage during a reply: no text is shown before it is stored, and none is lost."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from django.conf import settings

from tests.support.gemini import Gemini, Pause, Text
from tests.support.live import LiveServer, check_with_oracle
from tests.support.sse_client import text_of

SLOW = [step for n in range(60) for step in (Text(f"word{n} "), Pause(0.05))]
WHOLE = "".join(f"word{n} " for n in range(60))


@pytest.fixture
def server(tmp_path: Path, gemini: Gemini, live_database: dict[str, str]) -> Iterator[LiveServer]:
    live = LiveServer(tmp_path, None, GOOGLE_API_KEY="x", GOOGLE_GEMINI_BASE_URL=gemini.url, **live_database)
    live.prepare().start()
    yield live
    gemini.release()
    if live.process:
        live.kill()


@pytest.mark.skipif(not settings.ON_SQLITE, reason="only SQLite locks a file")
@pytest.mark.parametrize("seconds", [1, 4])
def test_a_reply_survives_a_lock_on_the_database_file(
    server: LiveServer, gemini: Gemini, seconds: int
) -> None:
    gemini.on("slow", SLOW)
    alice = server.member("alice")

    def hold() -> None:
        database = sqlite3.connect(server.data_dir / "parley.sqlite3", timeout=20)
        database.execute("BEGIN EXCLUSIVE")
        time.sleep(seconds)
        database.rollback()
        database.close()

    holder = threading.Timer(1, hold)  # during a reply of three seconds
    holder.start()
    with alice.ask("slow") as stream:
        seen = stream.all_events()
    holder.join()
    assert text_of(seen) == WHOLE
    check_with_oracle(server, [seen])


@pytest.mark.skipif(settings.ON_SQLITE, reason="SQLite has no connections to cut")
def test_a_reply_survives_repeated_loss_of_all_connections(
    server: LiveServer, gemini: Gemini, live_database: dict[str, str]
) -> None:
    gemini.on("slow", SLOW)
    alice = server.member("alice")
    cut = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    stop = threading.Event()

    def cutter() -> None:
        with psycopg.connect(live_database["DATABASE_URL"], autocommit=True) as admin:
            while not stop.wait(0.3):
                admin.execute(cut)

    cutting = threading.Thread(target=cutter)
    threading.Timer(1, cutting.start).start()
    threading.Timer(2.5, stop.set).start()
    with alice.ask("slow") as stream:
        seen = stream.all_events(may_break=True)
    cutting.join()
    if not seen[-1].is_done:  # the reader's own query was cut: reconnect, as clients do
        with alice.follow(seen[0].run, seen[-1].id) as stream:
            seen += stream.all_events()
    assert text_of(seen) == WHOLE
    check_with_oracle(server, [seen])
    assert alice.http.get("/readyz").status_code == 200
