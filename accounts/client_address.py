"""Address of a request's client, as the proxies in TRUSTED_PROXIES report it."""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address

from django.conf import settings
from django.http import HttpRequest

Address = IPv4Address | IPv6Address

# Some proxies write the client's port too. An IPv6 address with a port has brackets.
WITH_PORT = re.compile(r"([0-9.]+):[0-9]{1,5}|\[([0-9A-Fa-f:.%]+)\](?::[0-9]{1,5})?")


def client_address(request: HttpRequest) -> Address | None:
    """Return the address of the request's client; None where the peer has none, as on a Unix socket.

    It is the peer's own, unless the peer is a trusted proxy. Then it is the rightmost address of
    ``X-Forwarded-For`` that is not trusted: each proxy appends the address of its peer, and a client can
    forge the entries further left. An entry that is no address ends the search: then it is the peer's own.
    """
    peer = _parsed(request.META.get("REMOTE_ADDR", ""))
    if peer is None or not _is_trusted(peer):
        return peer
    # Django joins several header lines with commas, and drops names with underscores.
    for entry in reversed(request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")):
        address = _parsed(entry.strip())
        if address is None:
            break
        if not _is_trusted(address):
            return address
    return peer


def _is_trusted(address: Address) -> bool:
    return any(address in network for network in settings.TRUSTED_PROXIES)


def _parsed(text: str) -> Address | None:
    """Return the address that ``text`` names. An IPv4-mapped IPv6 address becomes IPv4; a zone is dropped."""
    if match := WITH_PORT.fullmatch(text):
        text = match[1] or match[2]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped or IPv6Address(int(address))
    return address
