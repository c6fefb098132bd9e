"""``kill -9`` in the middle of an erasure: the next process goes on, and nothing of the account is left."""

import os
import random
import time
from pathlib import Path

import pytest
from django.conf import settings

from tests.support import commands
from tests.support.live import LiveServer
from tests.support.waiting import until

# As a server's duty does it, without the minutes that another process waits for one that died.
ERASE = """
from datetime import timedelta
from chat import erasure, purge
erasure.LEASE = timedelta()
purge.PURGED_AT_ONCE = 2
while user := erasure.claim_erasure():
    for _pause in erasure.erase(user):
        print("step", flush=True)
erasure.clean_file()
"""

FILL = """
from datetime import timedelta
from django.utils import timezone
from accounts.models import User
from chat import erasure
from chat.models import AccountDeletion
from chat.search.index import index_due
from tests.support.canaries import fill
from tests.test_purge import conversation_of
for owner in ("alice", "bob"):
    user = User.objects.get(username=owner)
    for n in range(6):
        conversation_of(user, f"{n:05}zq{owner}", turns=3)
    fill(user, owner)
AccountDeletion.objects.all().delete()
while index_due():
    pass
deletion, _is_new = erasure.request_deletion(User.objects.order_by("pk").first())
AccountDeletion.objects.update(due_at=timezone.now() - timedelta(seconds=1))
"""

LEFT = """
from chat.models import AccountDeletion, Conversation
from tests.support.canaries import canaries_in, database_text
text = database_text()
print(len(canaries_in(text, "alice")), len(canaries_in(text, "bob")), AccountDeletion.objects.count())
"""


def shell(server: LiveServer, code: str) -> str:
    done = server.manage("shell", "-c", code)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1] if done.stdout else ""


@pytest.fixture
def server(tmp_path: Path, live_database: dict[str, str]) -> LiveServer:
    started = LiveServer(tmp_path, None, **live_database).prepare().start()
    for name in ("alice", "bob"):
        started.member(name).http.close()
    started.stop()
    shell(started, FILL)
    return started


def kill_after(server: LiveServer, steps: int) -> bool:
    """Start an erasure and kill it after so many steps; return whether it had not ended by then."""
    path = server.data_dir / "erasure.log"
    with path.open("wb") as log, Path(os.devnull).open() as nothing:
        streams = (nothing.fileno(), log.fileno(), log.fileno())
        process = commands.Command(["manage.py", "shell", "-c", ERASE], server.env, streams)
    until(lambda: path.read_text().count("step") >= steps or process.poll() is not None, 60)
    time.sleep(random.uniform(0, 0.01))  # somewhere in the next step
    if process.poll() is not None:
        assert process.poll() == 0, path.read_text()
        return False
    process.kill()
    return True


def test_an_erasure_survives_kills(server: LiveServer) -> None:
    of_alice, of_bob, _waiting = map(int, shell(server, LEFT).split())
    assert of_alice > 80
    killed = [kill_after(server, random.randint(1, 60)) for _ in range(5)]
    assert killed[0]
    shell(server, ERASE)
    assert shell(server, LEFT).split() == ["0", str(of_bob), "0"]
    if settings.ON_SQLITE:
        raw = b"".join(path.read_bytes() for path in server.data_dir.glob("parley.sqlite3*"))
        assert b"zqalice" not in raw
        assert b"zqbob" in raw
