"""Content-Security-Policy of Parley's pages and of the admin."""

from functools import cache
from typing import Any

from csp.constants import SELF
from csp.middleware import CSPMiddleware, PolicyParts
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.templatetags.static import static
from django.urls import reverse

# A reversal costs 0.1 ms, and the middleware asks twice a response.
_admin_path = cache(lambda: reverse("admin:index"))


# Handles the sound of a call. No nonce can ride on a worklet, so it is allowed by its address.
WORKLET = "chat/live/worklet.js"


class ContentSecurityPolicy(CSPMiddleware):
    """Middleware with a looser policy for the admin, and for a page in which a member can speak.

    On Parley's pages only scripts with the response's nonce run, and only one Trusted Types policy makes
    markup from text. The admin's scripts are Django's: they have no nonce, and its jQuery makes markup.
    A response whose ``uses_microphone`` is true may use it, and load WORKLET (docs/decisions/0062).
    """

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if response.headers.get("Content-Type", "").startswith("text/html"):
            allowed = "(self)" if getattr(response, "uses_microphone", False) else "()"
            response.headers["Permissions-Policy"] = f"microphone={allowed}"
        return super().process_response(request, response)

    def get_policy_parts(self, request: Any, response: Any, report_only: bool = False) -> PolicyParts:
        parts = super().get_policy_parts(request, response, report_only)
        if request.path.startswith(_admin_path()):
            parts.replace = {
                "script-src": [SELF],
                "require-trusted-types-for": None,
                "trusted-types": None,
                **(parts.replace or {}),
            }
        if getattr(response, "uses_microphone", False):
            # Without a scheme it is that of the page, also behind a proxy that ends TLS.
            parts.update = {"script-src": [f"{request.get_host()}{static(WORKLET)}"], **(parts.update or {})}
        return parts
