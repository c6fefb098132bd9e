"""System checks that warn of sign-up open to strangers, and of a proxy that is not listed."""

from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks

from tests.support.live import LiveServer

pytestmark = pytest.mark.any_database

OPEN_TO_STRANGERS, PROXY_UNKNOWN = "accounts.W001", "accounts.W002"


@pytest.fixture(autouse=True)
def first_start(settings: Any) -> None:
    """Apply the settings of a fresh installation."""
    settings.SIGNUP_IS_OPEN = settings.ON_LOOPBACK = True
    settings.HTTPS = False
    settings.TRUSTED_PROXIES = []
    settings.ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]", "127.0.0.1"]


def warnings() -> list[str]:
    """Return the ids of the warnings, sorted: Django keeps its checks in a set."""
    return sorted(str(found.id) for found in run_checks() if str(found.id).startswith("accounts."))


def test_a_first_start_has_no_warning() -> None:
    assert warnings() == []


def test_open_sign_up_beyond_loopback_is_a_warning(settings: Any) -> None:
    settings.ON_LOOPBACK = False
    assert warnings() == [OPEN_TO_STRANGERS]


@pytest.mark.parametrize("host", ["chat.example.org", ".example.org", "192.168.1.7", "[2001:db8::1]"])
def test_a_foreign_host_name_on_loopback_counts_as_a_proxy(settings: Any, host: str) -> None:
    settings.ALLOWED_HOSTS = [host, "127.0.0.1"]
    assert warnings() == [OPEN_TO_STRANGERS, PROXY_UNKNOWN]


@pytest.mark.parametrize(
    "host", ["*", "parley", "parley.localhost", "localhost.localdomain", "127.0.1.1", "0.0.0.0", "[::]"]
)
def test_a_host_name_of_this_machine_does_not_count_as_a_proxy(settings: Any, host: str) -> None:
    settings.ALLOWED_HOSTS = [host]
    assert warnings() == []


def test_https_counts_as_a_proxy(settings: Any) -> None:
    settings.HTTPS, settings.ON_LOOPBACK = True, False
    assert warnings() == [OPEN_TO_STRANGERS, PROXY_UNKNOWN]


def test_closed_sign_up_gives_no_sign_up_warning(settings: Any) -> None:
    settings.SIGNUP_IS_OPEN, settings.HTTPS = False, True
    assert warnings() == [PROXY_UNKNOWN]


def test_a_listed_proxy_gives_no_proxy_warning(settings: Any) -> None:
    settings.TRUSTED_PROXIES, settings.HTTPS = [ip_network("127.0.0.1")], True
    assert warnings() == [OPEN_TO_STRANGERS]


def test_the_server_prints_the_warnings_and_starts(tmp_path: Path) -> None:
    server = LiveServer(tmp_path, ALLOWED_HOSTS="chat.example.org,127.0.0.1").prepare().start()
    server.kill()
    for name in (OPEN_TO_STRANGERS, PROXY_UNKNOWN):
        assert server.output().count(f"({name})") == 1
    for setting in ("SIGNUP=closed", "TRUSTED_PROXIES"):
        assert f"HINT: Set {setting}" in server.output()
