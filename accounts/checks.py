"""System checks for settings that expose sign-in or sign-up to strangers."""

from ipaddress import ip_address
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, register
from django.utils.translation import gettext as _


@register()
def check_sign_up(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    if settings.SIGNUP_IS_OPEN and (not settings.ON_LOOPBACK or _is_behind_a_proxy()):
        return [
            checks.Warning(
                _("Everyone who can reach this server can sign up, and then use the model at your expense."),
                hint=_("Set SIGNUP=closed, and create the accounts in the admin."),
                id="accounts.W001",
            )
        ]
    return []


@register()
def check_trusted_proxies(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    if _is_behind_a_proxy() and not settings.TRUSTED_PROXIES:
        return [
            checks.Warning(
                _(
                    "Behind a proxy all clients have the proxy's address: "
                    "ten wrong passwords lock everyone out."
                ),
                hint=_(
                    "Set TRUSTED_PROXIES to the proxy's address (127.0.0.1 on this machine), "
                    "and let the proxy send X-Forwarded-For."
                ),
                id="accounts.W002",
            )
        ]
    return []


def _is_behind_a_proxy() -> bool:
    """Return whether requests from other machines must come through a proxy."""
    # Parley itself speaks no TLS, and on a loopback address only a proxy sends a foreign host name.
    foreign = settings.ON_LOOPBACK and any(_is_foreign(host) for host in settings.ALLOWED_HOSTS)
    return bool(settings.HTTPS or foreign)


def _is_foreign(host: str) -> bool:
    """Return whether an allowed host is certainly another machine. A name without a dot may be this one."""
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return "." in host.strip(".") and not host.endswith((".localhost", ".localdomain"))
    return not (address.is_loopback or address.is_unspecified)
