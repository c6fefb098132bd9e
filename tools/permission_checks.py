"""Permission checks: each one, turned into *allowed*, must make a test fail.

``python -m tools.permission_checks`` finds them by syntax tree, turns each off in a copy of the checkout, and
runs the tests of the admin and of moderation there. An interrupted run goes on where it ended.
"""

import argparse
import ast
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from tools.removals import ROOT, copy_checkout, current_commit

SOURCES = ("accounts", "chat", "config")
# By the beginning of a file's name; a check that these do not notice is tried with all.
TESTS = {
    "chat/moderation/": ["tests/moderation"],
    "chat/admin/": ["tests/admin"],
    "": ["tests/moderation", "tests/admin", "tests/test_strangers.py"],
}
NAME_LETTERS = 5  # of a module's name, by which its own tests are found and run first
LOG = ROOT / "var" / "permission_checks.jsonl"
JOBS = 2
RUN_SECONDS = 600
SLOW = "not at_any_address and not machine and not walk"  # they take a minute, and find nothing first


@dataclass(frozen=True)
class TurnedOff:
    """An expression of a file that is replaced by a constant."""

    file: str
    line: int
    start: int  # columns of the expression, which is on one line
    end: int
    replacement: str
    source: str  # the line, for the log

    def apply(self, root: Path) -> None:
        """Change the file below ``root``."""
        path = root / self.file
        lines = path.read_text().splitlines(keepends=True)
        text = lines[self.line - 1].encode()
        lines[self.line - 1] = (text[: self.start] + self.replacement.encode() + text[self.end :]).decode()
        path.write_text("".join(lines))


def checks() -> list[TurnedOff]:
    """Return the permission checks of the product, each with what turns it off."""
    return [
        found
        for folder in SOURCES
        for path in sorted((ROOT / folder).rglob("*.py"))
        if "migrations" not in path.parts
        for found in _checks_in(path)
    ]


def _checks_in(path: Path) -> Iterator[TurnedOff]:
    source = path.read_text()
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        for found, replacement in _replacements(node):
            if found.lineno != found.end_lineno:
                raise ValueError(f"{path}:{found.lineno}: put this check on one line")
            start, end = found.col_offset, found.end_col_offset or 0
            file, line = str(path.relative_to(ROOT)), found.lineno
            yield TurnedOff(file, line, start, end, replacement, lines[line - 1].strip())


def _replacements(node: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    """Yield the expressions of a node that check a permission, and what makes each allow."""
    match node:
        case ast.Call(func=ast.Attribute(attr="has_perm" | "has_perms")):
            yield node, "True"
        case ast.Call(func=ast.Name(id="may_act_on" | "may_look" | "_is_owner")):
            yield node, "True"
        case ast.Call(func=ast.Name(id="staff_with"), args=[first, _, *_]):
            yield node, f"staff_with({ast.unparse(first)})"
        case ast.If(test=test, body=[ast.Raise(exc=ast.Name(id="PermissionDenied"))]):
            yield test, "False"
        case ast.FunctionDef(name="may_act_on"):
            yield from _duties(node)
        case ast.FunctionDef(name=name, body=[*_, ast.Return(value=ast.Constant(value=False) as value)]):
            if name.startswith("has_") and name.endswith("_permission"):
                yield value, "True"


def _duties(function: ast.FunctionDef) -> Iterator[tuple[ast.expr, str]]:
    for node in ast.walk(function):
        if isinstance(node, ast.Attribute) and node.attr in {"is_superuser", "is_staff"}:
            yield node, "False" if ast.unparse(node).startswith("member") else "True"
        if isinstance(node, ast.Compare):
            yield node, "False"


def verdict_of(check: TurnedOff) -> str:
    """Return ``failed``, as it should be, ``passed``, or why the tests did not run."""
    with tempfile.TemporaryDirectory(prefix="parley-check-") as folder:
        root = Path(folder) / "checkout"
        copy_checkout(root)
        check.apply(root)
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:xdist", "-k", SLOW]
        for beginning, tests in TESTS.items():
            if not check.file.startswith(beginning):
                continue
            run = subprocess.run(  # noqa: S603  (our own names of tests)
                [*command, *_tests_named_like(check.file), *tests],
                cwd=root,
                capture_output=True,
                text=True,
                timeout=RUN_SECONDS,
                check=False,
            )
            if run.returncode == 1:
                return "failed"
            if run.returncode:
                return f"did not run: {run.stdout[-500:]}{run.stderr[-500:]}"
    return "passed"


def _tests_named_like(file: str) -> list[str]:
    """Return the test files with the beginning of the module's name. They notice in a tenth of the time."""
    pattern = f"test_*{Path(file).stem[:NAME_LETTERS]}*.py"
    found = [path for folder in ("moderation", "admin") for path in (ROOT / "tests" / folder).glob(pattern)]
    return sorted(str(path.relative_to(ROOT)) for path in found)


def run_all(wanted: Sequence[TurnedOff], log: Path) -> Iterator[tuple[TurnedOff, str]]:
    """Yield the verdict of each check that the log does not have for this commit, and log it."""
    commit = current_commit()
    log.parent.mkdir(parents=True, exist_ok=True)
    entries = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    done = [entry["check"] for entry in entries if (entry["commit"], entry["verdict"]) == (commit, "failed")]
    left = [each for each in wanted if asdict(each) not in done]
    with ThreadPoolExecutor(JOBS) as pool, log.open("a") as file:
        for check, verdict in zip(left, pool.map(verdict_of, left), strict=True):
            file.write(json.dumps({"commit": commit, "check": asdict(check), "verdict": verdict}) + "\n")
            file.flush()
            yield check, verdict


def main() -> None:
    """Turn off the checks whose file or line contains one of the given texts; all without one."""
    parser = argparse.ArgumentParser(prog="python -m tools.permission_checks", description=main.__doc__)
    parser.add_argument("texts", nargs="*", metavar="TEXT")
    parser.add_argument("--list", action="store_true", help="only list them")
    parser.add_argument("--log", type=Path, default=LOG)
    options = parser.parse_args()
    wanted = [
        each
        for each in checks()
        if not options.texts or any(text in each.file or text in each.source for text in options.texts)
    ]
    survivors = 0
    for check, verdict in ((each, "") for each in wanted) if options.list else run_all(wanted, options.log):
        survivors += bool(verdict) and verdict != "failed"
        print(f"{verdict:8}{check.file}:{check.line}:{check.start} {check.source}", flush=True)
    print(f"{len(wanted)} checks, {survivors} of them unnoticed.")
    sys.exit(bool(survivors))


if __name__ == "__main__":
    main()
