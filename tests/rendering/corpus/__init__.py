"""Replies that comparable systems show wrong, each with its expected structure.

A file holds cases of one kind: ``== name``, the Markdown, ``->``, and the expected HTML in short form
(see ``tests.support.short_form``). The expectations were written by hand, before the renderer was changed.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Case:
    source: str
    expected: str


def _read(path: Path) -> dict[str, Case]:
    found = {}
    for part in path.read_text().split("\n== ")[1:]:
        name, _, rest = part.partition("\n")
        source, arrow, expected = rest.partition("\n->\n")
        assert arrow, f"{path.name}: {name} has no expectation"
        found[f"{path.stem}: {name}"] = Case(source, "".join(map(str.strip, expected.split("\n"))))
    return found


CASES: dict[str, Case] = {}
for _path in sorted(Path(__file__).parent.glob("*.txt")):
    CASES |= _read(_path)
