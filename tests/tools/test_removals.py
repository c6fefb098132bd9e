"""The list of removals fits the code, and a removal that no test notices is reported."""

import re
import shutil
from pathlib import Path

import pytest

from tools.removals import ROOT, Removal, removals

pytestmark = pytest.mark.any_database


@pytest.mark.parametrize("removal", removals(), ids=lambda removal: removal.test.split("::")[1])
def test_a_removal_names_one_line_and_a_test(removal: Removal, tmp_path: Path) -> None:
    copy = tmp_path / removal.file
    copy.parent.mkdir(parents=True)
    shutil.copy2(ROOT / removal.file, copy)
    removal.apply(tmp_path)
    assert copy.read_text() != (ROOT / removal.file).read_text()
    file, _, test = removal.test.partition("::")
    assert re.search(rf"^(async )?def {test.partition('[')[0]}\(", (ROOT / file).read_text(), re.MULTILINE)


def test_a_line_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "twice.css").write_text("a {\n  b: c;\n}\nd {\n  b: c;\n}\n")
    with pytest.raises(ValueError, match="2 lines"):
        Removal("", "twice.css", "b: c;").apply(tmp_path)


def test_a_replacement_takes_the_place_of_the_line(tmp_path: Path) -> None:
    (tmp_path / "once.css").write_text("a {\n  b: c;\n}\n")
    Removal("", "once.css", "b: c;", "  b: d;").apply(tmp_path)
    assert (tmp_path / "once.css").read_text() == "a {\n  b: d;\n}\n"
