"""``make bench`` on a small scale: figures are printed, replies are checked, nothing is left behind."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from benchmarks import __main__ as command
from benchmarks import checkout, environments, report
from benchmarks.environments import LOCKS, Environment, NotInstalled
from benchmarks.figures import Figures, Results, Traffic
from benchmarks.load import Reply, response_of
from benchmarks.measure import Measurement, Model
from benchmarks.plan import FULL, QUICK, Plan
from benchmarks.processes import Cores, Process
from benchmarks.targets import chainlit
from benchmarks.targets.bare import BareRunner
from benchmarks.targets.base import Ask, started
from benchmarks.targets.parley_server import REQUESTS
from benchmarks.targets.peers import Peer
from tests.support.commands import ROOT
from tests.support.waiting import until

pytestmark = [
    pytest.mark.any_database,
    pytest.mark.skipif(
        not sys.platform.startswith("linux"), reason="CPU clocks of other processes need Linux"
    ),
]

SMALL = "--quick --streams 2 --deltas 5 --alone 2 --burst 3 --readers 2 --requests 2 --turns 1,2".split()
PEERS = sorted(path.parent.name for path in LOCKS.glob("*/requirements.in"))


def bench(folder: Path, *words: str) -> subprocess.Popen[str]:
    temporary = folder / "temporary"
    temporary.mkdir()
    line = [sys.executable, "-m", "benchmarks", *SMALL, "--raw", str(folder / "raw.json"), *words]
    env = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/tmp"), "TMPDIR": str(temporary)}
    return subprocess.Popen(
        line, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def rows(table: str, heading: str) -> dict[str, list[str]]:
    """Return the rows of the table below a heading, by the name of the process."""
    text = table.partition(f"{heading}\n")[2].partition("#")[0]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if "|" in line]
    at = cells[0].index("process")
    return {row[at]: row for row in cells[2:]}


def test_the_report_has_figures_of_every_process_and_no_wrong_reply(tmp_path: Path) -> None:
    with bench(tmp_path) as process:
        said, complaints = process.communicate(timeout=110)
    assert process.returncode == 0, complaints
    checks = rows(said, "#### Checks, every round")
    replies = 2 + 2 + 2 + 2 + 1 + 3 + 1  # held, alone, small, gemini, one stream, burst, last turn
    assert {name: row[2:4] for name, row in checks.items()} == {
        "bare Runner": ["0", f"{replies}"],
        "Parley, SQLite": ["0", f"{replies + 2}"],  # the idle readers', and that of the page
    }
    for heading in ("CPU", "First token", "CPU of one turn, by what went before it"):
        for name, row in rows(said, f"#### {heading}").items():
            assert float(row[1]) > 0, (heading, name)
    (parley,) = rows(said, "#### CPU of a request, ms").values()
    assert parley[0] == "Parley, SQLite" and all(float(cell) > 0 for cell in parley[1:])
    kept = json.loads((tmp_path / "raw.json").read_text())
    assert [len(figures["alone_ms"]) for figures in kept["rounds"]] == [2, 2]
    assert [len(figures["traffic"]["small"]["delay_ms"]) for figures in kept["rounds"]] == [10, 10]
    assert not list((tmp_path / "temporary").iterdir())


def test_ctrl_c_ends_all_processes_and_deletes_their_files(tmp_path: Path) -> None:
    with bench(tmp_path, "--targets", "") as process:
        until(
            lambda: (
                process.poll() is not None
                or any("benchmarks.bare" in words for words in commands_of_children(process))
            )
        )
        children = children_of(process.pid)
        assert len(children) == 2  # the Runner, and the model
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 130
    assert not [child for child in children if Path(f"/proc/{child}").exists()]
    assert not list((tmp_path / "temporary").iterdir())


def commands_of_children(process: "subprocess.Popen[str]") -> list[list[str]]:
    return [command_of(child) for child in children_of(process.pid)]


def children_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def command_of(pid: str) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []  # it has ended


class LossyStore(BareRunner):
    """A target that stores replies without their last character."""

    async def read_back(self, asks: Sequence[Ask], replies: Sequence[Reply]) -> list[str | None]:
        kept = await super().read_back(asks, replies)
        return [text and text[:-1] for text in kept]


class LossyStream(BareRunner):
    """A target that shows replies without their first character."""

    async def ask_all(self, asks: Sequence[Ask]) -> list[Reply]:
        return [replace(reply, text=reply.text[1:]) for reply in await super().ask_all(asks)]


async def figures_of(kind: type[BareRunner], folder: Path) -> Figures:
    model = await Process(["-m", "benchmarks.gemini"], folder / "model.log").start()
    try:
        port = int(await model.line())
        target = kind(folder / "target", port)
        target.set_up()
        plan = Plan(streams=1, alone=0, few=(), burst=0, turns=(), warm_up=0).with_deltas(3)
        return await Measurement(target, Model(model, port), plan, 1).take(Cores.here())
    finally:
        await model.stop()


async def test_a_wrongly_stored_reply_is_reported(tmp_path: Path) -> None:
    figures = await figures_of(LossyStore, tmp_path)
    assert figures.wrong == ["1h0: 47 of 48 kept", "1s0x1: 71 of 72 kept", "1g0x1: 299 of 300 kept"]


async def test_a_wrongly_shown_reply_is_reported(tmp_path: Path) -> None:
    figures = await figures_of(LossyStream, tmp_path)
    assert figures.wrong == ["1h0: 47 of 48 shown", "1s0x1: 71 of 72 shown", "1g0x1: 299 of 300 shown"]


def test_the_report_replaces_the_text_between_the_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.write("new\n", page)
    assert page.read_text() == f"before\n{report.BEGIN}\n\nnew\n\n{report.END}\nafter\n"
    assert report.BEGIN in report.PAGE.read_text() and report.END in report.PAGE.read_text()


# --- the command ---------------------------------------------------------------------------------


class NotThere(Environment):
    """Environment that cannot be installed."""

    def install(self) -> None:
        raise NotInstalled("the package index has no such package")


class Uninstalled(Peer):
    name = "uninstalled"
    environment: Environment = NotThere("uninstalled", LOCKS / "none.txt")

    def serving(self, cores: Cores) -> AbstractAsyncContextManager[Process]:
        raise AssertionError("It is not started.")

    async def _ask(self, ask: Ask) -> Reply:
        raise AssertionError("It is not asked.")


class Ready(Environment):
    """This test's own environment."""

    @property
    def python(self) -> Path:
        return Path(sys.executable)

    @property
    def is_ready(self) -> bool:
        return True


class EndsAtOnce(Uninstalled):
    name = "ends at once"
    environment = Ready("ready", LOCKS / "none.txt")

    def serving(self, cores: Cores) -> AbstractAsyncContextManager[Process]:
        return started(self._process("-c", "raise SystemExit('no')"), cores, self._port, "/")


def run_bench(folder: Path, *words: str) -> command.Bench:
    tiny = "--quick --streams 1 --deltas 2 --alone 1 --burst 0 --turns".split()
    chosen = command.options([*tiny, "", "--raw", str(folder / "raw.json"), *words])
    with ExitStack() as stack:
        bench = command.Bench(chosen, Cores.here(), folder, stack)
        bench.install()
        asyncio.run(bench.run())
    return bench


def test_peers_that_fail_are_reported_and_the_others_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "PEERS", {"adk": Uninstalled, "ag-ui": EndsAtOnce})
    bench = run_bench(tmp_path, "--targets", "adk,ag-ui")
    said = report.report(bench.results, bench.plan, bench.conditions)
    for text in (capsys.readouterr().err, said):
        assert "the package index has no such package" in text
        assert re.search(r"ends at once.*failed in round 1: RuntimeError: .* ended with 1:\s+no", text)
    assert [figures.name for figures in bench.results.rounds] == ["bare Runner"]
    assert bench.faults() == []


def test_a_wrong_reply_of_an_exact_target_makes_the_command_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "BareRunner", LossyStore)
    bench = run_bench(tmp_path, "--targets", "")
    replies = 1 + 1 + 1 + 1  # held, alone, small, gemini
    assert bench.faults() == [f"bare Runner: {replies} of {replies} replies of round 1 are wrong."]


def test_quick_is_small_in_every_amount() -> None:
    chosen = command.options(["--quick"])
    assert (chosen.targets, chosen.minutes) == ("sqlite", command.QUICK_MINUTES)
    assert command.plan_of(chosen) == QUICK and QUICK.rounds == 1
    full = command.options([])
    assert set(full.targets.split(",")) == set(command.TARGETS)
    assert command.plan_of(full) == FULL and FULL.rounds >= 3
    for name in ("streams", "alone", "burst", "readers", "requests"):
        assert 0 < getattr(QUICK, name) <= getattr(FULL, name) / 2
    assert max(QUICK.turns) <= max(FULL.turns) / 2


@pytest.mark.parametrize("plan", [QUICK, FULL, FULL.with_deltas(300)])
def test_replies_of_both_shapes_take_equally_long(plan: Plan) -> None:
    small, gemini = (shape.deltas * shape.pace_ms for shape in plan.shapes)
    assert abs(small - gemini) < plan.gemini.pace_ms


# --- what arrives --------------------------------------------------------------------------------


def test_each_part_of_a_response_has_the_time_of_its_last_byte() -> None:
    received = [
        (1.0, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (2.0, b"3\r\none\r\n5\r\nth"),
        (3.0, b"ree\r\n0\r\n\r\n"),
    ]
    assert response_of(0.0, received).parts == [(2.0, b"one"), (3.0, b"three")]
    plain = [(1.0, b"HTTP/1.1 404 Not Found\r\n\r\nno"), (2.0, b"thing")]
    response = response_of(0.0, plain)
    assert (response.status, response.parts) == (404, [(1.0, b"no"), (2.0, b"thing")])
    assert response_of(0.0, [(1.0, b"HTTP/1.1 2")]).status == 0  # cut


def test_a_delta_has_arrived_when_its_last_character_is_shown() -> None:
    reply = Reply(began=10.0, arrivals=[(10.5, 4), (11.0, 12)], text="", ended=True)
    assert reply.first_ms == 500
    # Deltas of four characters; the last one never came.
    assert reply.delays_ms([10.4, 10.6, 10.75, 10.9], 4) == pytest.approx([100, 400, 250])


def test_a_reply_of_chainlit_has_its_shown_and_its_last_text() -> None:
    frames = [
        (1.0, '42["task_start",{}]'),
        (1.5, '42["stream_start",{"output":"one "}]'),
        (2.0, '42["stream_token",{"token":"two"}]'),
        (2.5, '42["new_message",{"output":"one two","type":"assistant_message"}]'),
        (3.0, '42["task_end",{}]'),
    ]
    reply = chainlit.reply_of(0.5, frames)
    assert (reply.text, reply.kept, reply.ended) == ("one two", "one two", True)
    assert (reply.first_ms, reply.arrivals) == (1000, [(1.5, 4), (2.0, 7)])
    assert not chainlit.reply_of(0.5, []).ended


# --- the report ----------------------------------------------------------------------------------


def figures_with(name: str, number: int, cpu_us: float, **other: float) -> Figures:
    found = Figures(name, number, alone_ms=[10.0, 20.0], short_ms=5.0, turn_ms={10: 20.0, 180: 90.0})
    for step, streams in (
        ("small", 50),
        ("gemini", 50),
        ("small at 1", 1),
        ("small at 10", 10),
        ("burst", 200),
    ):
        found.traffic[step] = Traffic(streams, cpu_us, 1.0, 0.1, [5.0], [1.0, 2.0])
    if other:
        found.request_ms = dict.fromkeys(REQUESTS, other["request_ms"])
    return found


def test_the_report_has_medians_and_shares_of_the_same_round() -> None:
    results = Results(failed={"Chainlit": "not installed: no"})
    for number, slower in ((1, 1.0), (2, 2.0), (3, 4.0)):
        results.rounds += [
            figures_with("bare Runner", number, 100 * slower),
            figures_with("Parley, SQLite", number, 150 * slower, request_ms=3.0),
            figures_with("Parley at abc, SQLite", number, 300 * slower, request_ms=12.0),
        ]
    results.rounds[2].wrong = ["1b0: 0 of 48 shown", "1b1: status 503"]
    said = report.report(results, FULL, ["conditions"])
    assert said.startswith(
        "conditions\n\n"
        "- Not measured: Chainlit, not installed: no.\n"
        "- Wrong replies of Parley at abc, SQLite: 2 in all. The first one, by its key: 1b0: 0 of 48 shown.\n"
    )
    assert rows(said, "#### CPU")["Parley, SQLite"][1:3] == ["300 (150 to 600)", "1.50"]
    assert set(rows(said, "#### CPU of a request, ms")) == {"Parley, SQLite", "Parley at abc, SQLite"}
    assert "| CPU | a small delta, µs | 0.50 |" in said
    assert "| CPU of a request, ms | GET /healthz | 0.25 |" in said
    assert said.count("| Parley, SQLite | 600 | 1.50 |") == 1  # the third round


# --- environments --------------------------------------------------------------------------------


def locked(lock: Path) -> dict[str, str]:
    """Return the version of each package of a lock, which has a hash for each."""
    found = dict[str, str]()
    for block in re.split(
        r"\n(?=[a-zA-Z0-9])", re.sub(r"^ +#.*\n", "", lock.read_text(), flags=re.MULTILINE)
    ):
        pin = re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]+\])?==(\S+)", block)
        assert pin and "--hash=sha256:" in block, block
        found[pin[1]] = pin[2]
    return found


@pytest.mark.parametrize("peer", PEERS)
def test_the_lock_of_a_peer_pins_what_it_asks_for_at_the_versions_of_parley(peer: str) -> None:
    lock, own = locked(LOCKS / peer / "requirements.txt"), locked(ROOT / "requirements.txt")
    asked = [
        Requirement(line.partition("#")[0])
        for line in (LOCKS / peer / "requirements.in").read_text().splitlines()
    ]
    assert all(each.specifier.contains(Version(lock[each.name])) for each in asked)
    shared = {"google-adk", "google-genai", "httpx", "pydantic"}
    assert {name: lock[name] for name in shared} == {name: own[name] for name in shared}


def test_every_peer_has_a_lock_and_every_lock_a_peer() -> None:
    assert sorted(peer.environment.name for peer in command.PEERS.values()) == PEERS


def test_an_environment_is_installed_once_for_each_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []

    def run(line: list[str]) -> None:
        lines.append(" ".join(line))
        (tmp_path / "peer").mkdir(exist_ok=True)
        if "fails" in lock.read_text():
            raise NotInstalled("no")

    monkeypatch.setattr(environments, "_run", run)
    lock = tmp_path / "lock.txt"
    lock.write_text("one==1")
    environment = Environment("peer", lock, tmp_path)
    environment.install()
    assert environment.is_ready and len(lines) == 2 and "--require-hashes" in lines[1]
    environment.install()
    assert len(lines) == 2
    lock.write_text("one==2")
    assert not environment.is_ready
    environment.install()
    assert environment.is_ready and len(lines) == 4
    lock.write_text("fails")
    with pytest.raises(NotInstalled):
        environment.install()
    assert not environment.is_ready


def test_a_commit_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotInstalled, match="no commit no-such-commit"):
        checkout.program_of("no-such-commit", tmp_path)
