"""Matrix of agents that wait: each case, answered in each way, on each database.

Run ``python -m tests.waiting.matrix --folder F``. Each cell asks an agent that needs a person, answers, and
checks: the request is read back as it was sent, the work is completed, the tool acted once (never if it was
rejected), the later agents spoke, and the oracle holds. The command resumes: ``F/passed.txt`` lists the cells
that passed. ``F/log.txt`` has each cell, ``F/summary.md`` the table.
"""

import argparse
import sys
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.support import services
from tests.support.gemini import Call, Gemini, Step
from tests.support.live import LiveServer, Member, check_with_oracle
from tests.support.sse_client import SseEvent, terminal_of, text_of
from tests.support.terminal import CTRL_D, Terminal, chat_piped
from tests.waiting.matrix_cases import CASES, HEAD, Case


@dataclass(slots=True)
class Cell:
    """One case, answered in one way. ``fault`` says what is wrong; empty if nothing is."""

    engine: str
    way: str
    case: str
    conversation: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    since: int = 0  # the number of the model's requests before the answer
    fault: str = ""

    @property
    def name(self) -> str:
        return f"{self.engine}/{self.way}/{self.case}"

    @property
    def key(self) -> str:
        """The name as the tool writes it, new in each run of the command."""
        return self.name.replace("/", "_") + RUN

    @property
    def spec(self) -> Case:
        return CASES[self.case]


RUN = f"_{uuid.uuid4().hex[:6]}"


class Field:
    """Parley with an agent for each case, and its member alice. On PostgreSQL there is a second server."""

    def __init__(self, folder: Path, gemini: Gemini, cases: Sequence[str], **database: str) -> None:
        self.gemini = gemini
        self.agents = folder / "agents"
        for case in cases:
            (self.agents / case).mkdir(parents=True)
            (self.agents / case / "agent.py").write_text(f"{HEAD}\n{CASES[case].code}\n")
        env = {
            "GOOGLE_API_KEY": "x",
            "GOOGLE_GEMINI_BASE_URL": gemini.url,
            "AGENTS_DIR": str(self.agents),
            "LIMITS": "off",
            "SECRET_KEY": "s" * 60,
            **database,
        }
        names = ["one", "two"] if "DATABASE_URL" in database else ["one"]
        self.servers = []
        for name in names:
            (folder / name).mkdir()
            self.servers.append(LiveServer(folder / name, None, **env).prepare())
        for server in self.servers:
            server.start()
        self.alice = self.server.member("alice")
        self.seen: list[list[SseEvent]] = []

    @property
    def server(self) -> LiveServer:
        return self.servers[0]

    def close(self) -> None:
        self.gemini.release()
        for server in self.servers:
            if server.process:
                server.kill()

    # --- one cell -----------------------------------------------------------------------------

    def script(self, cell: Cell) -> None:
        for suffix, answers in cell.spec.scripts.items():
            filled = [[_filled(step, cell.key) for step in answer] for answer in answers]
            self.gemini.on_agent(f"{cell.case}_{suffix}", *filled)
            if len(cell.spec.scripts) == 1:  # a workflow's agent does not tell its model its name
                self.gemini.on(cell.key, *filled)

    def ask(self, cell: Cell, member: Member) -> None:
        self.script(cell)
        with member.ask(cell.key, agent=cell.case) as stream:
            events = stream.all_events()
        self.seen.append(events)
        cell.conversation = events[0].json()["conversation"]
        cell.requests = [event.json() for event in events if event.name == "waiting"]
        end = terminal_of(events).json()
        assert end["finish"] == ("stop" if cell.spec.is_job else "approval"), end
        self.check_asked(cell, member)

    def ask_in_terminal(self, cell: Cell) -> None:
        self.script(cell)
        done = chat_piped(self.server, f"{cell.key}\n", "--agent", cell.case)
        assert done.returncode == (0 if cell.spec.is_job else 3), (done.returncode, done.stderr)

    def check_asked(self, cell: Cell, member: Member) -> None:
        """Check that the request is read back as it was sent, and that the tool has not acted too early."""
        found = read(member, cell)["waiting"]
        assert found == (cell.requests or found), found
        cell.requests = found
        assert len(found) == cell.spec.requests, found
        assert [request["job"] for request in found] == [cell.spec.is_job] * len(found), found
        assert self.acted(cell) == cell.spec.acts[0], "acted before the answer"

    def answer(self, cell: Cell, member: Member) -> None:
        cell.since = len(self.gemini.requests)
        payload = cell.key if cell.spec.payload == "CELL" else cell.spec.payload
        answers = [
            {"id": request["id"], "decision": cell.spec.decision, "payload": payload}
            for request in cell.requests
        ]
        with member.ask(conversation=cell.conversation, answers=answers) as stream:
            assert stream.response.status_code == 200, stream.response.read()
            events = stream.all_events()
        self.seen.append(events)
        end = terminal_of(events)
        assert (end.name, end.json()["finish"]) == ("run.completed", "stop"), end
        self.check_answered(cell, member, text_of(events))

    def answer_in_terminal(self, cell: Cell) -> None:
        cell.since = len(self.gemini.requests)
        terminal = Terminal(self.server, "--conversation", cell.conversation)
        try:
            for number, (label, line) in enumerate(cell.spec.typed):
                times = sum(each == label for each, _line in cell.spec.typed[: number + 1])
                terminal.expect(label, times=times, within=60)
                terminal.type(line.replace("CELL", cell.key) + "\n")
            terminal.expect("You: ", within=60)
            terminal.type(CTRL_D)
            assert terminal.exit_code(60) == 0
        finally:
            terminal.close()

    def check_answered(self, cell: Cell, member: Member, text: str = "") -> None:
        found = read(member, cell)
        assert found["waiting"] == [], found["waiting"]
        stored = found["messages"]["items"][-1]["text"]
        assert stored == (text or stored), (stored, text)
        for part in cell.spec.said:
            assert part.replace("CELL", cell.key) in stored, f"{part!r} is not in {stored!r}"
        told = str(self.gemini.requests[cell.since :]).replace("'", '"')
        assert cell.spec.told in told, f"the model was not told {cell.spec.told!r}"
        assert self.acted(cell) == cell.spec.acts[1], f"acted {self.acted(cell)} times"

    def acted(self, cell: Cell) -> int:
        path = self.agents / cell.case / "acted"
        return path.read_text().split("\n").count(cell.key) if path.exists() else 0


def _filled(step: Step, key: str) -> Step:
    if isinstance(step, Call) and "cell" in step.args:
        return Call(step.name, {**step.args, "cell": key})
    return step


def read(member: Member, cell: Cell) -> dict[str, Any]:
    answer = member.http.get(f"/api/v1/conversations/{cell.conversation}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


# --- ways -----------------------------------------------------------------------------------------

Way = Callable[[Field, "Trials"], None]


class Trials:
    """The cells of one way, and how they end: a step that fails ends its cell, and not the others."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        self.cells = cells

    def each(self, step: Callable[[Cell], object]) -> None:
        for cell in self.cells:
            if not cell.fault:
                with self.noting(cell):
                    step(cell)

    @contextmanager
    def noting(self, *cells: Cell) -> Iterator[None]:
        """Note a failure inside the block as the fault of these cells."""
        try:
            yield
        except (AssertionError, httpx.HTTPError, OSError, KeyError, ValueError, StopIteration) as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            for cell in cells:
                cell.fault = cell.fault or f"{place.name}:{place.lineno}: {type(error).__name__}: {error}"


def same(parley: Field, trials: Trials) -> None:
    trials.each(lambda cell: parley.ask(cell, parley.alice))
    trials.each(lambda cell: parley.answer(cell, parley.alice))


def killed(parley: Field, trials: Trials) -> None:
    trials.each(lambda cell: parley.ask(cell, parley.alice))
    parley.server.kill()
    parley.server.start()
    trials.each(lambda cell: parley.answer(cell, parley.alice))


def restarted(parley: Field, trials: Trials) -> None:
    trials.each(lambda cell: parley.ask(cell, parley.alice))
    parley.server.stop()
    parley.server.start()
    trials.each(lambda cell: parley.answer(cell, parley.alice))


def other_process(parley: Field, trials: Trials) -> None:
    trials.each(lambda cell: parley.ask(cell, parley.alice))
    there = parley.alice.at(parley.servers[1].url)
    trials.each(lambda cell: parley.check_asked(cell, there))
    trials.each(lambda cell: parley.answer(cell, there))


def other_device(parley: Field, trials: Trials) -> None:
    phone = Member(parley.server.url).sign_in("alice")
    trials.each(lambda cell: parley.ask(cell, parley.alice))
    trials.each(lambda cell: parley.check_asked(cell, phone))
    trials.each(lambda cell: parley.answer(cell, phone))


def from_terminal(parley: Field, trials: Trials) -> None:
    parley.server.stop()  # the terminal executes the runs that ask
    trials.each(parley.ask_in_terminal)
    parley.server.start()
    listed = parley.alice.http.get("/api/v1/conversations?limit=100").json()["items"]
    by_title = {item["title"]: item["id"] for item in listed}

    def find(cell: Cell) -> None:
        cell.conversation = by_title[cell.key]
        parley.check_asked(cell, parley.alice)

    trials.each(find)
    trials.each(lambda cell: parley.answer(cell, parley.alice))


def to_terminal(parley: Field, trials: Trials) -> None:
    trials.each(lambda cell: parley.ask(cell, parley.alice))
    parley.server.stop()  # the terminal executes the answering runs
    trials.each(parley.answer_in_terminal)
    parley.server.start()
    trials.each(lambda cell: parley.check_answered(cell, parley.alice))


WAYS: dict[str, dict[str, Way]] = {
    "sqlite": {
        "same": same,
        "kill": killed,
        "restart": restarted,
        "device": other_device,
        "from_terminal": from_terminal,
        "to_terminal": to_terminal,
    },
    "postgres": {"same": same, "kill": killed, "process": other_process, "device": other_device},
}


# --- the campaign ---------------------------------------------------------------------------------


def run(folder: Path, only: Sequence[str] = ()) -> list[Cell]:
    """Try each cell whose name has one of ``only`` and that has not passed; return the cells tried."""
    folder.mkdir(parents=True, exist_ok=True)
    passed = folder / "passed.txt"
    done = set(passed.read_text().split()) if passed.exists() else set()
    tried: list[Cell] = []
    for engine, ways in WAYS.items():
        cells = [Cell(engine, way, case) for way in ways for case in CASES]
        cells = [c for c in cells if c.name not in done and (not only or any(o in c.name for o in only))]
        if not cells:
            continue
        with ExitStack() as stack:
            database: dict[str, str] = {}
            if engine == "postgres":
                database |= stack.enter_context(services.database(services.find_postgres()))
                database |= stack.enter_context(services.redis_prefix())
            gemini = Gemini()
            stack.callback(gemini.close)
            place = folder / f"{engine}{RUN}"
            place.mkdir()
            cases = [case for case in CASES if any(cell.case == case for cell in cells)]
            parley = Field(place, gemini, cases, **database)
            stack.callback(parley.close)
            for way, step in ways.items():
                if chosen := [cell for cell in cells if cell.way == way]:
                    _try(parley, step, chosen, folder)
                    tried += chosen
    (folder / "summary.md").write_text(summary(folder, tried))
    return tried


def _try(parley: Field, way: Way, cells: list[Cell], folder: Path) -> None:
    began, parley.seen = time.monotonic(), []
    trials = Trials(cells)
    with trials.noting(*cells):
        way(parley, trials)
    with trials.noting(*cells):
        check_with_oracle(parley.server, parley.seen)
    with (folder / "log.txt").open("a") as log, (folder / "passed.txt").open("a") as passed:
        for cell in cells:
            log.write(f"{time.strftime('%H:%M:%S')} {cell.name}: {cell.fault or 'passed'}\n")
            if not cell.fault:
                passed.write(f"{cell.name}\n")
        log.write(f"{cells[0].engine}/{cells[0].way}: {time.monotonic() - began:.0f} s\n")


def summary(folder: Path, tried: Sequence[Cell]) -> str:
    """Return a table of all cells that passed, now or before, and of the faults."""
    done = set((folder / "passed.txt").read_text().split())
    columns = [f"{engine}/{way}" for engine, ways in WAYS.items() for way in ways]
    faults = {cell.name for cell in tried if cell.fault}
    lines = [f"| case | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for case in CASES:
        names = [f"{column}/{case}" for column in columns]
        marks = ["yes" if name in done else "**no**" if name in faults else "" for name in names]
        lines.append(f"| {case} | {' | '.join(marks)} |")
    total = len(columns) * len(CASES)
    return "\n".join([*lines, "", f"{len(done)} of {total} cells passed.", ""])


def main() -> None:
    """Try the cells, and exit with 1 if one has a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=[], help="parts of names, such as sqlite/kill or /loop")
    options = parser.parse_args()
    tried = run(options.folder.resolve(), options.only)
    for cell in tried:
        if cell.fault:
            sys.stdout.write(f"{cell.name}: {cell.fault}\n")
    sys.stdout.write((options.folder / "summary.md").read_text())
    sys.exit(any(cell.fault for cell in tried))


if __name__ == "__main__":
    main()
