"""A sample of the campaigns, which ``python -m tests.waiting.doubles``, ``kills`` and ``queues`` run."""

from pathlib import Path

import pytest
from django.conf import settings

from tests.waiting import doubles, kills, queues
from tests.waiting.campaign import Log

pytestmark = pytest.mark.timeout(300)
ENGINE = "sqlite" if settings.ON_SQLITE else "postgresql"


def test_one_of_two_simultaneous_answers_counts(tmp_path: Path) -> None:
    trials = doubles.trials_of(12)
    said = doubles.run(Log(tmp_path / "log.jsonl"), ENGINE, trials)
    assert f"{len(trials)} double answers" in said


def test_a_killed_answer_acts_once_at_most(tmp_path: Path) -> None:
    trials = [
        kills.Trial(0, "kill", "in_mark"),
        kills.Trial(0, "stop", "marked"),
        kills.Trial(0, "kill", "in_end"),
    ]
    said = kills.run(Log(tmp_path / "log.jsonl"), ENGINE, trials)
    assert "kill 1 completed and 1 lost" in said


def test_a_queue_keeps_its_order_in_random_interleavings(tmp_path: Path) -> None:
    assert "5 interleavings" in queues.run(Log(tmp_path / "log.jsonl"), ENGINE, 5)
