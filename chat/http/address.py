"""The address of this server for links that are not made within a request."""

from django.conf import settings

WILDCARDS = {"0.0.0.0", "::"}  # noqa: S104  (nothing is bound to them here)


def browser_address() -> str:
    """Return the address for a browser, without a path: this machine, or the proxy's host name."""
    if settings.HTTPS:
        return f"https://{next(iter(settings.ALLOWED_HOSTS), settings.HOST)}"
    host = "localhost" if settings.HOST in WILDCARDS else settings.HOST
    return f"http://[{host}]:{settings.PORT}" if ":" in host else f"http://{host}:{settings.PORT}"
