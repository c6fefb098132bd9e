"""``make bench`` on a small scale: figures are printed, replies are checked, nothing is left behind."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.load import Reply
from benchmarks.measure import Figures, Measurement, Model, Plan
from benchmarks.processes import Cores, Process
from benchmarks.targets import Ask, BareRunner
from tests.support.commands import ROOT
from tests.support.waiting import until

pytestmark = [
    pytest.mark.any_database,
    pytest.mark.skipif(
        not sys.platform.startswith("linux"), reason="CPU clocks of other processes need Linux"
    ),
]

SMALL = ["--rounds", "1", "--streams", "2", "--deltas", "5", "--turns", "1,2", "--targets", "sqlite"]


def bench(folder: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks", *SMALL, *words]
    env = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/tmp"), "TMPDIR": str(folder)}
    return subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def rows(table: str, heading: str) -> dict[str, list[str]]:
    """Return the rows of the table below a heading, by the name of the process."""
    text = table.partition(f"{heading}\n")[2].partition("###")[0]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if "|" in line]
    at = cells[0].index("process")
    return {row[at]: row for row in cells[2:]}


def test_the_report_has_figures_of_every_process_and_no_wrong_reply(tmp_path: Path) -> None:
    with bench(tmp_path) as process:
        said, complaints = process.communicate(timeout=110)
    assert process.returncode == 0, complaints
    each = rows(said, "### Every round")
    assert set(each) == {"bare Runner", "Parley, SQLite"}
    for row in each.values():
        wrong, asked = re.fullmatch(r"(\d+) of (\d+)", row[-1]).groups()  # type: ignore[union-attr]
        replies = 2 + 10 + 2 + 1  # held, alone, concurrent, the last turn of the history
        assert (int(wrong), int(asked)) == (0, replies)
        assert float(row[2]) > 0
    assert set(rows(said, "### CPU of one turn, by what went before it")) == set(each)
    assert not list(tmp_path.iterdir())


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
    assert not list(tmp_path.iterdir())


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
        plan = Plan(streams=1, deltas=3, alone=0, turns=(), warm_up=0)
        return await Measurement(target, Model(model, port), plan, 1).take(Cores.here())
    finally:
        await model.stop()


async def test_a_wrongly_stored_reply_is_reported(tmp_path: Path) -> None:
    figures = await figures_of(LossyStore, tmp_path)
    assert figures.wrong == ["1h0: 47 of 48 kept", "1s0: 71 of 72 kept"]


async def test_a_wrongly_shown_reply_is_reported(tmp_path: Path) -> None:
    figures = await figures_of(LossyStream, tmp_path)
    assert figures.wrong == ["1h0: 47 of 48 shown", "1s0: 71 of 72 shown"]


def test_the_report_replaces_the_text_between_the_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.write("new\n", page)
    assert page.read_text() == f"before\n{report.BEGIN}\n\nnew\n\n{report.END}\nafter\n"
    assert report.BEGIN in report.PAGE.read_text() and report.END in report.PAGE.read_text()
