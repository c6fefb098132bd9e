"""The path of one ask through the files of the product, measured by ``python -m tools.hops``."""

import re
import subprocess
import sys

import pytest

from tests.support.commands import ROOT

pytestmark = pytest.mark.any_database


def test_an_ask_returns_seldom_to_a_file_that_it_has_left() -> None:
    command = [sys.executable, "-m", "tools.hops"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    figures = {name: int(value) for value, name in re.findall(r"^ *(\d+) (.+)$", done.stdout, re.MULTILINE)}
    assert 10 < figures["files that its ask enters"] <= 22
    assert figures["returns of the ask to a file already left"] <= 14
    assert 40 < figures["files that a plain text turn enters"] <= 71
