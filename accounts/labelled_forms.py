"""allauth's forms with Parley's labels, and with the rules for passwords in one sentence."""

from collections.abc import Mapping
from typing import Any, ClassVar

from allauth.account import forms
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy

from accounts.forms import PASSWORD_RULES

Labels = Mapping[str, Promise]

EMAIL = gettext_lazy("E-mail address")
NEW_PASSWORDS: Labels = {
    "password1": gettext_lazy("New password"),
    "password2": gettext_lazy("New password, once more"),
}


class _Labelled:
    """Mixin that gives each field its label in ``labels``, and no placeholder."""

    labels: ClassVar[Labels]
    fields: dict[str, Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            field.label = self.labels[name]
            field.widget.attrs.pop("placeholder", None)
        if "password1" in self.fields:
            self.fields["password1"].help_text = PASSWORD_RULES


class LoginForm(_Labelled, forms.LoginForm):  # type: ignore[misc]
    labels: ClassVar = {
        "login": gettext_lazy("User name or e-mail address"),
        "password": gettext_lazy("Password"),
    }


class SignupForm(_Labelled, forms.SignupForm):  # type: ignore[misc]
    labels: ClassVar = {
        "username": gettext_lazy("User name"),
        "email": EMAIL,
        "password1": gettext_lazy("Password"),
        "password2": gettext_lazy("Password, once more"),
    }


class AddEmailForm(_Labelled, forms.AddEmailForm):  # type: ignore[misc]
    labels: ClassVar = {"email": EMAIL}


class ResetPasswordForm(_Labelled, forms.ResetPasswordForm):  # type: ignore[misc]
    labels: ClassVar = {"email": EMAIL}


class ResetPasswordKeyForm(_Labelled, forms.ResetPasswordKeyForm):  # type: ignore[misc]
    labels: ClassVar = NEW_PASSWORDS


class ChangePasswordForm(_Labelled, forms.ChangePasswordForm):  # type: ignore[misc]
    labels: ClassVar = {"oldpassword": gettext_lazy("Current password"), **NEW_PASSWORDS}


class SetPasswordForm(_Labelled, forms.SetPasswordForm):  # type: ignore[misc]
    labels: ClassVar = NEW_PASSWORDS


class ReauthenticateForm(_Labelled, forms.ReauthenticateForm):  # type: ignore[misc]
    labels: ClassVar = {"password": gettext_lazy("Password")}
