"""Interruptions of spoken answers at every place: ``python -m tests.live.campaign [--folder var/live]``.

First 100 spoken turns, then each case of ``interruptions.every_case`` in batches of BATCH, each in a call of
its own. The folder lists the batches that passed, so that an interrupted campaign goes on.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

BATCH = 30
CASES = "LIVE_CASES"  # the environment variable that gives a batch to the test: first case and the one after
TURNS = "tests/live/test_turns.py::test_a_hundred_spoken_turns_are_stored_in_order"
INTERRUPTIONS = "tests/live/test_interruptions.py::test_an_interruption_anywhere_keeps_what_was_heard"


def batch_of_environment() -> slice | None:
    """Return which cases the campaign asks for; None outside it."""
    if not (given := os.environ.get(CASES)):
        return None
    first, after = map(int, given.split(":"))
    return slice(first, after)


def passes(test: str, cases: str) -> bool:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test]
    return subprocess.run(command, env={**os.environ, CASES: cases}, check=False).returncode == 0


def run(folder: Path, number_of_cases: int) -> int:
    """Run the batches that the folder does not list; return the number of those that failed."""
    folder.mkdir(parents=True, exist_ok=True)
    passed = folder / "passed"
    done = set(passed.read_text().split()) if passed.exists() else set()
    firsts = range(0, number_of_cases, BATCH)
    batches = [(TURNS, "0:1")] + [(INTERRUPTIONS, f"{first}:{first + BATCH}") for first in firsts]
    failed = 0
    for test, cases in batches:
        name = f"{test.split('::')[1]}:{cases}"
        if name in done:
            continue
        if passes(test, cases):
            with passed.open("a") as lines:
                lines.write(f"{name}\n")
        else:
            failed += 1
    print(f"{len(batches) - failed} of {len(batches)} batches passed")  # noqa: T201
    return failed


def main() -> None:
    from tests.live.cases import every_case

    parser = argparse.ArgumentParser(prog="python -m tests.live.campaign")
    parser.add_argument("--folder", type=Path, default=Path("var/live"))
    sys.exit(bool(run(parser.parse_args().folder, len(every_case()))))


if __name__ == "__main__":
    main()
