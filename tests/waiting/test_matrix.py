"""Sample of the matrix of agents that wait: see tests/waiting/matrix.py."""

from pathlib import Path

import pytest

from tests.waiting import matrix
from tests.waiting.matrix_cases import CASES, CONFIRMED, Case, pays

pytestmark = pytest.mark.any_database  # the cells name their engine

SAMPLE = ["sqlite/kill/sequential", "sqlite/kill/two_calls", "sqlite/to_terminal/confirmation"]


@pytest.mark.timeout(400)
def test_a_sample_of_the_matrix_passes(tmp_path: Path) -> None:
    cells = matrix.run(tmp_path, SAMPLE)
    assert [cell.name for cell in cells] == SAMPLE
    assert [f"{cell.name}: {cell.fault}" for cell in cells if cell.fault] == []
    assert matrix.run(tmp_path, SAMPLE) == []  # it goes on where it ended


def test_a_fault_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = Case(CONFIRMED, {"root": pays()}, decision="reject", told="rejected")
    monkeypatch.setitem(CASES, "rejected", wrong)
    [cell] = matrix.run(tmp_path, ["sqlite/same/rejected"])
    assert cell.fault.endswith("AssertionError: acted 0 times")
