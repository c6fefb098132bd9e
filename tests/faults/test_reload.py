"""A reload of AGENTS_DIR that one server was asked for reaches the other one, too."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.conf import settings

from tests.support.dom import parse
from tests.support.live import LiveServer, Member
from tests.support.speaker import PATIENT, saying, speaker
from tests.support.sse_client import text_of
from tests.support.waiting import until

pytestmark = pytest.mark.skipif(settings.ON_SQLITE, reason="by design, a SQLite file has only one server")

Write = Callable[[dict[str, str]], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "agents"


@pytest.fixture
def write(folder: Path) -> Write:
    def write(files: dict[str, str]) -> None:
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)

    return write


@pytest.fixture
def servers(
    tmp_path: Path, folder: Path, write: Write, live_database: dict[str, str]
) -> Iterator[tuple[LiveServer, LiveServer]]:
    write(speaker("old"))
    env = {"LIMITS": "off", "SECRET_KEY": "s" * 60, "AGENTS_DIR": str(folder), **live_database}
    found = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        found.append(LiveServer(tmp_path / name, None, **env).prepare().start())
    yield found[0], found[1]
    for server in found:
        if server.process:
            server.kill()


def owner_of(server: LiveServer) -> Member:
    olga = server.member("olga")
    code = "from accounts.models import User; User.objects.update(is_staff=True, is_superuser=True)"
    done = server.manage("shell", "-c", code)
    assert done.returncode == 0, done.stderr
    return olga


def said(member: Member, agent: str = "speaker") -> str:
    with member.ask("Hello", agent=agent) as stream:
        assert stream.response.status_code == 200, stream.response.read()
        return text_of(stream.all_events())


def reload(owner: Member, generation: int) -> None:
    """Reload at the server of this member, and wait until both servers have this generation."""
    answer = owner.http.post("/admin/agents/", headers={**owner.headers(), "Referer": owner.url})
    assert answer.status_code == 302, answer.text
    wanted = [[str(generation), "Loaded"]] * 2
    until(lambda: [state for *state, _condition in conditions(owner, "speaker")] == wanted)


def conditions(owner: Member, agent: str = "speaker") -> list[list[str]]:
    """Return generation, state and the agent's condition for each process, in the order of their start."""
    page = parse(owner.http.get(f"/admin/agents/{agent}/").text)
    rows = page.one("table", class_="agents-processes").one("tbody").all("tr")
    cells = [[cell.words for cell in row.all("td")] for row in rows]
    return [[generation, state, condition] for generation, state, _since, condition in cells]


def test_a_reload_reaches_both_servers(servers: tuple[LiveServer, LiveServer], write: Write) -> None:
    one, two = servers
    olga = owner_of(one)
    there = olga.at(two.url)
    assert (said(olga), said(there)) == ("old", "old")
    write(speaker("brand new"))
    reload(olga, 1)
    assert (said(olga), said(there)) == ("brand new", "brand new")
    assert conditions(there) == [["1", "Loaded", "Loaded"]] * 2


def test_a_broken_agent_keeps_its_last_good_version_in_each_process_that_has_one(
    servers: tuple[LiveServer, LiveServer], write: Write
) -> None:
    one, two = servers
    olga = owner_of(one)
    there = olga.at(two.url)
    write({"speaker/words.py": "def word(:"})
    reload(there, 1)
    assert (said(olga), said(there)) == ("old", "old")
    two.stop()
    two.start()
    last_good = "Broken; its last good version answers"
    assert conditions(olga) == [["1", "Loaded", last_good], ["1", "Loaded", "Broken"]]
    write(speaker("mended"))
    reload(olga, 2)
    assert (said(olga), said(there)) == ("mended", "mended")


def test_a_run_at_the_other_server_finishes_with_the_version_that_began_it(
    servers: tuple[LiveServer, LiveServer], folder: Path, write: Write
) -> None:
    one, two = servers
    olga = owner_of(one)
    write(saying(PATIENT, "patient"))
    reload(olga, 1)
    answers: list[str] = []
    asking = threading.Thread(target=lambda: answers.append(said(olga.at(two.url), "patient")))
    asking.start()
    until((folder / "patient" / "begun").exists)
    write(speaker("brand new", "patient"))
    reload(olga, 2)
    assert said(olga.at(two.url), "patient") == "brand new"
    (folder / "patient" / "go").touch()
    asking.join(30)
    assert answers == ["old"]
