"""Storage of files in each test's own folder."""

from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import live_database  # noqa: F401  (a fixture)


@pytest.fixture(autouse=True)
def own_storage(tmp_path: Path, settings: Any) -> None:
    folder = tmp_path / "files"
    files = settings.STORAGES["files"]
    settings.FILES_TEMP_DIR = folder / "tmp"
    settings.STORAGES = {
        **settings.STORAGES,
        "files": {**files, "OPTIONS": {**files["OPTIONS"], "location": folder}},
    }
