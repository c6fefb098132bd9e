"""Content-Security-Policy of Parley's pages and of the admin."""

from functools import cache
from typing import Any

from csp.constants import SELF
from csp.middleware import CSPMiddleware, PolicyParts
from django.urls import reverse

# A reversal costs 0.1 ms, and the middleware asks twice a response.
_admin_path = cache(lambda: reverse("admin:index"))


class ContentSecurityPolicy(CSPMiddleware):
    """Middleware with a looser policy for the admin.

    On Parley's pages only scripts with the response's nonce run, and only one Trusted Types policy makes
    markup from text. The admin's scripts are Django's: they have no nonce, and its jQuery makes markup.
    """

    def get_policy_parts(self, request: Any, response: Any, report_only: bool = False) -> PolicyParts:
        parts = super().get_policy_parts(request, response, report_only)
        if request.path.startswith(_admin_path()):
            parts.replace = {
                "script-src": [SELF],
                "require-trusted-types-for": None,
                "trusted-types": None,
                **(parts.replace or {}),
            }
        return parts
