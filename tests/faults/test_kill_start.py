"""A sample of the campaign ``python -m tests.faults.start_kills``."""

from pathlib import Path

import pytest
from django.conf import settings

from tests.faults import start_kills
from tests.waiting.campaign import Log

ENGINE = "sqlite" if settings.ON_SQLITE else "postgresql"


@pytest.mark.timeout(300)
def test_a_run_whose_server_is_killed_at_its_start_is_answered_by_its_first_attempt(tmp_path: Path) -> None:
    said = start_kills.run(Log(tmp_path / "log.jsonl"), ENGINE, 3)
    assert said.startswith(f"{ENGINE}: 3 servers killed")
