"""The client address that sign-in limits count by: only a peer in TRUSTED_PROXIES may name it."""

from typing import Any

import pytest

from config.environment import Environment
from tests.conftest import PASSWORD
from tests.support.client import Client

PROXY, CLIENT, OTHER, UNLISTED = "10.0.0.1", "203.0.113.5", "198.51.100.7", "192.0.2.9"
CLIENT_6 = "2001:db8:9::5"
LISTED = "10.0.0.1, 10.0.0.2,10.1.0.0/16, 2001:db8:1::/48, ::ffff:10.3.0.0/112"


@pytest.fixture(autouse=True)
def one_failure_locks(settings: Any, fresh_limits: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lock an address after one wrong password, so that a case takes three requests and not twelve."""
    monkeypatch.setenv("TRUSTED_PROXIES", LISTED)
    settings.TRUSTED_PROXIES = Environment().TRUSTED_PROXIES
    settings.ACCOUNT_RATE_LIMITS = {"login_failed": "1/m/ip"}


async def sign_in(
    visitor: Client, password: str, peer: str | None, *headers: tuple[str, str]
) -> tuple[int, str]:
    """Sign in as alice from this peer, with these header lines; return the status and the page."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        lines = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
        changed = {"client": peer and (peer, 4711), "headers": [*scope["headers"], *lines]}
        await visitor.application({**scope, **changed}, receive, send)

    browser = Client(application)
    answer = await browser.post("/accounts/login/", form={"login": "alice", "password": password})
    return answer.status, answer.text


async def fails(visitor: Client, peer: str | None, *headers: tuple[str, str]) -> None:
    status, page = await sign_in(visitor, "wrong", peer, *headers)
    assert status == 200, page
    assert "password is wrong" in page


async def is_locked(visitor: Client, peer: str | None, *headers: tuple[str, str]) -> bool:
    status, page = await sign_in(visitor, PASSWORD, peer, *headers)
    assert status == 302 or "Too many wrong passwords" in page
    return status != 302


def forwarded(*lines: str) -> list[tuple[str, str]]:
    return [("X-Forwarded-For", line) for line in lines]


# --- a listed peer names the client ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        ([CLIENT], CLIENT),
        ([f"{OTHER}, {CLIENT}"], CLIENT),
        ([f"{CLIENT}, 10.0.0.2"], CLIENT),
        ([f"{OTHER},{CLIENT},10.1.255.3,2001:db8:1::7,10.0.0.1"], CLIENT),
        ([f"unknown, {CLIENT}"], CLIENT),
        ([f" \t{CLIENT} "], CLIENT),
        ([f"{CLIENT}:4711"], CLIENT),
        ([f"{CLIENT}, 10.0.0.2:80"], CLIENT),
        ([f"::ffff:{CLIENT}"], CLIENT),
        ([f"[::ffff:{CLIENT}]:4711"], CLIENT),
        ([f"{CLIENT}, ::ffff:10.0.0.2"], CLIENT),
        ([OTHER, CLIENT], CLIENT),
        ([OTHER, CLIENT, "10.0.0.2, 10.0.0.1"], CLIENT),
        ([CLIENT_6], CLIENT_6),
        ([f"[{CLIENT_6}]"], CLIENT_6),
        ([f"{OTHER}, [{CLIENT_6}]:4711"], CLIENT_6),
        ([CLIENT_6.upper()], CLIENT_6),
        ([f"{CLIENT_6}%eth0"], CLIENT_6),
    ],
    ids=lambda value: " + ".join(value) if isinstance(value, list) else "",
)
async def test_the_rightmost_unlisted_address_is_counted(
    visitor: Client, alice: Any, lines: list[str], client: str
) -> None:
    await fails(visitor, PROXY, *forwarded(*lines))
    assert await is_locked(visitor, client)
    assert not await is_locked(visitor, PROXY)
    assert not await is_locked(visitor, OTHER)


@pytest.mark.parametrize("peer", ["10.0.0.2", "10.1.2.3", "10.3.255.9", "::ffff:10.0.0.1", "2001:db8:1::9"])
async def test_every_listed_peer_may_name_the_client(visitor: Client, alice: Any, peer: str) -> None:
    await fails(visitor, peer, *forwarded(CLIENT))
    assert await is_locked(visitor, CLIENT)
    assert not await is_locked(visitor, peer)


async def test_a_client_behind_the_proxy_locks_out_only_itself(visitor: Client, alice: Any) -> None:
    await fails(visitor, PROXY, *forwarded(CLIENT))
    assert await is_locked(visitor, PROXY, *forwarded(CLIENT))
    assert not await is_locked(visitor, PROXY, *forwarded(OTHER))


# --- a header that names no client: the peer is counted -------------------------------------------


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [""],
        [" "],
        [",,,"],
        ["unknown"],
        [f"{OTHER}, unknown"],
        [f"{OTHER},"],
        [OTHER, ""],
        [f"{OTHER}, 10.0.0.2,, 10.0.0.2"],
        ["10.0.0.2, 10.1.0.1"],
        ["203.0.113.0/24"],
        ["203.0.113.05"],
        ["203.0.113"],
        [f"{CLIENT}:"],
        [f"{CLIENT}:port"],
        [f"[{CLIENT_6}"],
        [f'"{CLIENT}"'],
        [f"for={CLIENT}"],
        ["3405803781"],
        ["\xb2\xff\x7f"],
        [f"{OTHER}, " + "9" * 5000],
    ],
    ids=lambda lines: " + ".join(lines)[:40] or "none",
)
async def test_a_header_without_an_address_counts_the_peer(
    visitor: Client, alice: Any, lines: list[str]
) -> None:
    await fails(visitor, PROXY, *forwarded(*lines))
    assert await is_locked(visitor, PROXY)
    assert not await is_locked(visitor, OTHER)


# --- the header of any other peer is ignored -------------------------------------------------------


@pytest.mark.parametrize("peer", [UNLISTED, "10.2.0.1", "10.0.0.3", "2001:db8:2::1", "::ffff:192.0.2.9"])
async def test_an_unlisted_peer_cannot_name_another_client(visitor: Client, alice: Any, peer: str) -> None:
    await fails(visitor, peer, *forwarded(CLIENT))
    assert await is_locked(visitor, peer, *forwarded(OTHER))
    assert not await is_locked(visitor, CLIENT)


async def test_the_header_is_ignored_if_no_proxy_is_listed(
    visitor: Client, alice: Any, settings: Any
) -> None:
    settings.TRUSTED_PROXIES = []
    await fails(visitor, PROXY, *forwarded(CLIENT))
    assert await is_locked(visitor, PROXY, *forwarded(OTHER))
    assert not await is_locked(visitor, CLIENT)


@pytest.mark.parametrize(
    "name",
    ["X_Forwarded_For", "Forwarded", "X-Real-IP", "X-Client-IP", "True-Client-IP", "Remote-Addr"],
)
async def test_no_other_header_names_the_client(visitor: Client, alice: Any, name: str) -> None:
    await fails(visitor, PROXY, *forwarded(CLIENT), (name, OTHER))
    assert await is_locked(visitor, CLIENT)
    assert not await is_locked(visitor, OTHER)


# --- peers of other kinds -------------------------------------------------------------------------


async def test_an_ipv4_client_is_the_same_over_ipv4_and_ipv6_sockets(visitor: Client, alice: Any) -> None:
    """Counted by its /64 as IPv6, ``::ffff:…`` would be one address for all of IPv4."""
    await fails(visitor, f"::ffff:{CLIENT}")
    assert await is_locked(visitor, CLIENT)
    assert not await is_locked(visitor, f"::ffff:{OTHER}")


async def test_a_peer_without_an_address_can_sign_in_and_names_no_client(visitor: Client, alice: Any) -> None:
    """A Unix socket has no peer address."""
    assert not await is_locked(visitor, None)
    await fails(visitor, None, *forwarded(CLIENT))
    assert await is_locked(visitor, None)
    assert not await is_locked(visitor, CLIENT)
