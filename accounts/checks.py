"""Settings that leave sign-in or sign-up to strangers, reported at start and by ``manage.py check``."""

from ipaddress import ip_address
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, register


@register()
def sign_up_is_not_open_to_strangers(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    if settings.SIGNUP_IS_OPEN and (not settings.ON_LOOPBACK or _is_behind_a_proxy()):
        return [
            checks.Warning(
                "Everyone who can reach this server can sign up, and then ask the model at your expense.",
                hint="Set SIGNUP=closed, and create the accounts in the admin.",
                id="accounts.W001",
            )
        ]
    return []


@register()
def limits_see_the_client(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    if _is_behind_a_proxy() and not settings.TRUSTED_PROXIES:
        return [
            checks.Warning(
                "Behind a proxy all clients have the proxy's address: ten wrong passwords lock everyone out.",
                hint="Set TRUSTED_PROXIES to the proxy's address (127.0.0.1 on this machine), "
                "and let the proxy send X-Forwarded-For.",
                id="accounts.W002",
            )
        ]
    return []


def _is_behind_a_proxy() -> bool:
    """Return whether only a proxy can bring requests from elsewhere: Parley itself speaks no TLS, and a
    loopback address takes a foreign host name from a proxy only.
    """
    foreign = settings.ON_LOOPBACK and any(_is_foreign(host) for host in settings.ALLOWED_HOSTS)
    return bool(settings.HTTPS or foreign)


def _is_foreign(host: str) -> bool:
    """Return whether an allowed host is surely another machine's. Names without a dot can be this one's."""
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return "." in host.strip(".") and not host.endswith((".localhost", ".localdomain"))
    return not (address.is_loopback or address.is_unspecified)
