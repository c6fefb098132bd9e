"""Checks of names and commit subjects that no library makes: ``python -m tools.lint``."""

import re
import subprocess
import sys
from collections.abc import Iterator

from tools.structure import ROOT, modules, names_defined_twice

SUBJECT_MAX = 72
# Subjects begin with a verb in the imperative. These endings betray other forms; the exceptions are verbs.
OTHER_FORMS = re.compile(r"(?:ed|ing|s)$")
IMPERATIVES = {
    "Address", "Bring", "Bypass", "Discuss", "Dismiss", "Embed", "Express", "Feed", "Focus", "Need", "Pass",
    "Press", "Process", "Ring", "Seed", "Shed", "Speed", "Suppress", "Swing", "Wring",
}  # fmt: skip
NO_VERBS = {
    "A", "After", "All", "An", "And", "At", "Each", "For", "From", "How", "If", "In", "It", "No", "Not", "Of",
    "On", "One", "Only", "Such", "That", "The", "There", "They", "This", "Those", "To", "We", "What", "When",
    "Where", "Who", "Whoever", "With",
}  # fmt: skip


def name_faults() -> Iterator[str]:
    """Yield a line for each public name that two modules of the product define."""
    for name, places in names_defined_twice(modules(ROOT)).items():
        yield f"{name} is defined in {' and '.join(places)}: give each thing a name of its own."


def subject_faults(subject: str) -> Iterator[str]:
    """Yield what is wrong with the subject of a commit."""
    first = subject.split(" ", 1)[0].removesuffix(",")  # "Group, pin and archive …"
    if len(subject) > SUBJECT_MAX:
        yield f"has {len(subject)} characters, {SUBJECT_MAX} are allowed"
    if subject.endswith("."):
        yield "ends with a full stop"
    if not re.fullmatch(r"[A-Z][a-z]+", first) or first in NO_VERBS:
        yield f"begins with {first!r} and not with a verb"
    elif OTHER_FORMS.search(first) and first not in IMPERATIVES:
        yield f"begins with {first!r}, which is not the imperative"


def commit_faults() -> Iterator[str]:
    """Yield a line for each bad subject after the commit that added this check; none without a history."""
    added = _git("log", "--diff-filter=A", "--format=%H", "--", "tools/lint.py").split()
    if not added:
        return
    for line in _git("log", "--format=%h %s", f"{added[-1]}..HEAD").splitlines():
        commit, _, subject = line.partition(" ")
        for fault in subject_faults(subject):
            yield f"Commit {commit} ({subject!r}) {fault}."


def _git(*arguments: str) -> str:
    done = subprocess.run(  # noqa: S603  (no input from outside)
        ["git", "-C", str(ROOT), *arguments],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,  # fails outside a repository, as in an archive of the sources
    )
    return done.stdout


def main() -> None:
    """Print all faults. Exits with 1 if there are any."""
    faults = [*name_faults(), *commit_faults()]
    for fault in faults:
        print(fault)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
