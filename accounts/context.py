"""Template context about accounts."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest

from accounts.owner import owner_exists


def accounts(request: HttpRequest) -> dict[str, Any]:
    """Return what account pages and letters say about this site."""
    return {
        "signup_is_open": settings.SIGNUP_IS_OPEN,
        "has_mail_server": bool(settings.EMAIL_HOST),
        "owner_is_missing": lambda: not owner_exists(),  # a query, only on the pages that show it
    }
