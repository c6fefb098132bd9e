"""The settings, systemd unit, nginx configuration and back-up of docs/operations.md."""

import configparser
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import ROOT
from tests.support.docs import OPERATIONS, blocks, section
from tests.support.live import LiveServer

pytestmark = pytest.mark.any_database

SETTINGS, UNIT, DATABASES = blocks(OPERATIONS, "ini")
[NGINX] = blocks(OPERATIONS, "nginx")


def documented_environment() -> dict[str, str]:
    return dict(line.split("=", 1) for line in SETTINGS.splitlines())


def check(data_dir: Path, **changed: str) -> subprocess.CompletedProcess[str]:
    env = {
        "PATH": os.environ["PATH"],
        "ENV_FILE": os.devnull,
        **documented_environment(),
        "DATA_DIR": str(data_dir),
        **changed,
    }
    command = [sys.executable, "-W", "error", "manage.py", "check", "--deploy", "--fail-level", "WARNING"]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_djangos_deployment_check_passes_with_the_documented_settings(tmp_path: Path) -> None:
    done = check(tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("name", "value", "warning"),
    [
        ("HTTPS", "off", "security.W012"),
        ("SIGNUP", "open", "accounts.W001"),
        ("TRUSTED_PROXIES", "", "accounts.W002"),
    ],
)
def test_djangos_deployment_check_fails_without_each_documented_setting(
    tmp_path: Path, name: str, value: str, warning: str
) -> None:
    done = check(tmp_path, **{name: value})
    assert done.returncode == 1
    assert warning in done.stderr


def test_the_unit_waits_longer_than_the_drain_may_take() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(UNIT)
    assert int(unit["Service"]["TimeoutStopSec"]) > 60 + 10  # DRAIN_SECONDS plus the hand-over
    for line in ("ExecStartPre", "ExecStart"):
        assert (ROOT / Path(unit["Service"][line].split()[1]).name).exists()
    assert {"prepare", "serve"} == {unit["Service"][key].split()[2] for key in ("ExecStartPre", "ExecStart")}


@pytest.mark.parametrize(
    "directive",
    [
        "proxy_buffering off;",
        "proxy_http_version 1.1;",
        "proxy_next_upstream off;",
    ],
)
def test_the_nginx_configuration_has_the_directives_for_streams(directive: str) -> None:
    assert directive in NGINX


def test_nginx_waits_longer_than_the_longest_run() -> None:
    found = re.search(r"proxy_read_timeout (\d+)s;", NGINX)
    assert found
    assert int(found[1]) > 300  # RUN_SECONDS
    assert NGINX.count("{") == NGINX.count("}")
    assert all(re.search(r"[{};]$|^$", line.split("#")[0].rstrip()) for line in NGINX.splitlines())


def test_a_back_up_is_complete_while_parley_runs(tmp_path: Path) -> None:
    server = LiveServer(tmp_path).prepare().start()
    try:
        server.member("alice").http.close()
        [script] = re.findall(r"python -c '(.*?)'", section(OPERATIONS, "## Back-ups"), flags=re.DOTALL)
        copy = tmp_path / "copy.sqlite3"
        command = [sys.executable, "-c", script, str(tmp_path / "parley.sqlite3"), str(copy)]
        subprocess.run(command, cwd=ROOT, check=True)
    finally:
        server.kill()
    connection = sqlite3.connect(copy)
    assert connection.execute("SELECT username FROM accounts_user").fetchall() == [("alice",)]
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
