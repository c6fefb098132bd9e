"""Removals: one-line changes to the product, each of which must make one test fail.

``python -m tools.removals`` applies each to a copy of the checkout and runs its test there. The lists are
in ``tests/browser/removals``, one file for each subject. An interrupted run goes on where it ended: its log
names what is done at this commit.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LISTS = ROOT / "tests" / "browser" / "removals"
LOG = ROOT / "var" / "removals.jsonl"
JOBS = 2
# A test that fails waits this long for what does not come.
EXPECT_MS = "4000"
RUN_SECONDS = 300


@dataclass(frozen=True)
class Removal:
    """A line of a file that is deleted or replaced, and the test that must notice."""

    test: str  # pytest's name of it
    file: str  # path from the root of the checkout
    line: str  # without its indentation; only one line of the file equals it
    replacement: str | None = None  # None deletes the line

    def apply(self, root: Path) -> None:
        """Change the file below ``root``. Raises ValueError unless exactly one line is the one named."""
        path = root / self.file
        lines = path.read_text().splitlines(keepends=True)
        places = [number for number, line in enumerate(lines) if line.strip() == self.line.strip()]
        if len(places) != 1:
            raise ValueError(f"{self.file} has {len(places)} lines equal to {self.line!r}.")
        lines[places[0]] = "" if self.replacement is None else f"{self.replacement}\n"
        path.write_text("".join(lines))


def removals() -> list[Removal]:
    """Return the committed removals, in the order of their files."""
    return [
        Removal(**each)
        for path in sorted(LISTS.glob("*.toml"))
        for each in tomllib.loads(path.read_text())["removal"]
    ]


def verdict_of(removal: Removal) -> str:
    """Return ``failed``, as it should be, ``passed``, or why the test did not run."""
    with tempfile.TemporaryDirectory(prefix="parley-removal-") as folder:
        root = Path(folder) / "checkout"
        copy_checkout(root)
        try:
            removal.apply(root)
        except ValueError as problem:
            return str(problem)
        is_browser_test = removal.test.startswith("tests/browser/")
        settings = ["-c", "tests/browser/pytest.ini"] if is_browser_test else []
        command = [sys.executable, "-m", "pytest", *settings, "-q", "-p", "no:xdist"]
        env = {name: value for name, value in os.environ.items() if name != "TESTS_DIR"}
        run = subprocess.run(  # noqa: S603  (our own names of tests)
            [*command, removal.test],
            cwd=root,
            env=env | {"EXPECT_MS": EXPECT_MS},
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )
    if run.returncode not in (0, 1) or "ERROR at setup" in run.stdout:
        return f"did not run: {run.stdout[-500:]}{run.stderr[-500:]}"
    return "failed" if run.returncode else "passed"


def copy_checkout(root: Path) -> None:
    """Copy the files of the checkout, changed ones too, to ``root``."""
    for name in _files():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, root / name)


def current_commit() -> str:
    return _git("rev-parse", "HEAD").strip()


def _files() -> list[str]:
    listed = _git("ls-files", "--cached", "--others", "--exclude-standard")
    return [name for name in listed.splitlines() if (ROOT / name).is_file()]


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout  # noqa: S603


def run_all(wanted: Sequence[Removal], log: Path) -> Iterator[tuple[Removal, str]]:
    """Yield the verdict of each removal that the log does not have for this commit, and log it."""
    commit = current_commit()
    log.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    done = [line["removal"] for line in lines if (line["commit"], line["verdict"]) == (commit, "failed")]
    left = [each for each in wanted if asdict(each) not in done]
    with ThreadPoolExecutor(JOBS) as pool, log.open("a") as file:
        for removal, verdict in zip(left, pool.map(verdict_of, left), strict=True):
            entry = {"commit": commit, "removal": asdict(removal), "verdict": verdict}
            file.write(json.dumps(entry) + "\n")
            file.flush()
            yield removal, verdict


def main() -> None:
    """Run the removals whose test or file contains one of the given texts; all without one."""
    parser = argparse.ArgumentParser(prog="python -m tools.removals", description=main.__doc__)
    parser.add_argument("texts", nargs="*", metavar="TEXT")
    parser.add_argument("--sample", type=int, help="run only this many, chosen by chance")
    parser.add_argument("--log", type=Path, default=LOG)
    options = parser.parse_args()
    wanted = [
        each
        for each in removals()
        if not options.texts or any(text in each.test or text in each.file for text in options.texts)
    ]
    if options.sample is not None:
        wanted = random.sample(wanted, min(options.sample, len(wanted)))
    survivors = 0
    for removal, verdict in run_all(wanted, options.log):
        survivors += verdict != "failed"
        print(f"{verdict:8}  {removal.test}  without  {removal.file}: {removal.line}", flush=True)
    print(f"{len(wanted)} removals, {survivors} of them unnoticed.")
    sys.exit(bool(survivors))


if __name__ == "__main__":
    main()
