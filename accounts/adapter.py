"""Parley's differences from allauth's default account adapter."""

import unicodedata
from typing import Any, ClassVar

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core.exceptions import ImmediateHttpResponse
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.http import HttpRequest
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.client_address import client_address
from accounts.models import User, fold_case


class AccountAdapter(DefaultAccountAdapter):
    error_messages: ClassVar = DefaultAccountAdapter.error_messages | {
        "username_password_mismatch": gettext_lazy("The name or the password is wrong."),
        "email_password_mismatch": gettext_lazy("The address or the password is wrong."),
        "too_many_login_attempts": gettext_lazy("Too many wrong passwords. Try again in some minutes."),
        "username_taken": gettext_lazy("This user name is taken."),
        "email_taken": gettext_lazy("There is an account with this e-mail address already."),
        "duplicate_email": gettext_lazy("Your account has this address already."),
        "enter_current_password": gettext_lazy("This is not your current password."),
        "incorrect_password": gettext_lazy("The password is wrong."),
        "invalid_password_reset": gettext_lazy("This link no longer works."),
    }

    def clean_username(self, username: str, shallow: bool = False) -> str:
        """Return the name as the database stores it: in Unicode form NFKC."""
        cleaned: str = super().clean_username(unicodedata.normalize("NFKC", username), shallow)
        if not shallow and User.objects.filter(folded_name=fold_case(cleaned)).exists():
            raise self.validation_error("username_taken")
        return cleaned

    def clean_email(self, email: str) -> str:
        """Return the address. Raises ValidationError if it is longer than its column."""
        cleaned: str = super().clean_email(email)
        # SQLite would store a longer address, PostgreSQL would fail.
        limit = User._meta.get_field("email").max_length or 0
        if len(cleaned) > limit:
            raise ValidationError(_("An e-mail address has at most %(limit)s characters.") % {"limit": limit})
        return cleaned

    def is_safe_url(self, url: str) -> bool:
        """Return what allauth's check returns; False where it raises ValueError, as for ``http://[``."""
        try:
            return bool(super().is_safe_url(url))
        except ValueError:
            return False

    def authenticate(self, request: HttpRequest, **credentials: Any) -> Any:
        """Authenticate by the stored name, so that every spelling of a name counts towards one limit."""
        if "username" in credentials:
            folded = fold_case(credentials["username"])
            stored = User.objects.filter(folded_name=folded).values_list("username", flat=True).first()
            credentials["username"] = stored or folded
        return super().authenticate(request, **credentials)

    def get_client_ip(self, request: HttpRequest) -> str:
        """Return the address that rate limits count by. Clients without an address share one count."""
        return str(client_address(request) or "unknown")

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Return True. Raises ImmediateHttpResponse, a 403 page, where sign-up is closed.

        allauth calls this before it creates an account in any way, social accounts included.
        """
        if not settings.SIGNUP_IS_OPEN:
            raise ImmediateHttpResponse(render(request, "account/signup_closed.html", status=403))
        return True

    def save_user(self, request: HttpRequest, user: Any, form: Any, commit: bool = True) -> Any:
        """Store the user. If a concurrent sign-up took the name or address, redirect with a message."""
        try:
            return super().save_user(request, user, form, commit)
        except IntegrityError as error:
            messages.error(request, _("Somebody else was faster: this name or e-mail address is taken."))
            raise ImmediateHttpResponse(redirect("account_signup")) from error
