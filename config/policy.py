"""The Content-Security-Policy, and where the admin's differs."""

from typing import Any

from csp.constants import SELF
from csp.middleware import CSPMiddleware, PolicyParts
from django.urls import reverse


class ContentSecurityPolicy(CSPMiddleware):
    """On our pages only the script runs that the server named with this answer's nonce, and no text
    becomes markup but through the page's one Trusted Types policy.

    The admin's scripts are Django's own: they carry no nonce, and its jQuery makes markup from text.
    """

    def get_policy_parts(self, request: Any, response: Any, report_only: bool = False) -> PolicyParts:
        parts = super().get_policy_parts(request, response, report_only)
        if request.path.startswith(reverse("admin:index")):
            parts.replace = {
                "script-src": [SELF],
                "require-trusted-types-for": None,
                "trusted-types": None,
                **(parts.replace or {}),
            }
        return parts
