"""Where Parley's accounts differ from allauth's defaults."""

import unicodedata
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core.exceptions import ImmediateHttpResponse
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.http import HttpRequest
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _

from accounts.client_address import client_address
from accounts.models import User


class AccountAdapter(DefaultAccountAdapter):
    def clean_username(self, username: str, shallow: bool = False) -> str:
        """Names are compared as the database stores them: NFKC, without regard to case."""
        cleaned: str = super().clean_username(unicodedata.normalize("NFKC", username), shallow)
        return cleaned

    def clean_email(self, email: str) -> str:
        """An address that its column can hold: SQLite keeps longer ones, PostgreSQL refuses them."""
        cleaned: str = super().clean_email(email)
        limit = User._meta.get_field("email").max_length or 0
        if len(cleaned) > limit:
            raise ValidationError(_("An e-mail address has at most %(limit)s characters.") % {"limit": limit})
        return cleaned

    def is_safe_url(self, url: str) -> bool:
        """As allauth's, which raises ValueError for what is no address, such as ``http://[``."""
        try:
            return bool(super().is_safe_url(url))
        except ValueError:
            return False

    def authenticate(self, request: HttpRequest, **credentials: Any) -> Any:
        """As above; and attempts are counted by the name that is meant, however it is spelled."""
        if "username" in credentials:
            credentials["username"] = unicodedata.normalize("NFKC", credentials["username"])
        return super().authenticate(request, **credentials)

    def get_client_ip(self, request: HttpRequest) -> str:
        """Return the address that limits count by. All clients without one count together."""
        return str(client_address(request) or "unknown")

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Return True, or answer 403 with a page that says so where sign-up is closed.

        allauth asks here before each of its ways to make an account, those of social accounts included.
        """
        if not settings.SIGNUP_IS_OPEN:
            raise ImmediateHttpResponse(render(request, "account/signup_closed.html", status=403))
        return True

    def save_user(self, request: HttpRequest, user: Any, form: Any, commit: bool = True) -> Any:
        """Of two sign-ups that race for a name or an address, the later one is told."""
        try:
            return super().save_user(request, user, form, commit)
        except IntegrityError as error:
            messages.error(request, _("Somebody else was faster: this name or e-mail address is taken."))
            raise ImmediateHttpResponse(redirect("account_signup")) from error
