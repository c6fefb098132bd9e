"""User model: members, moderators and the site owner."""

import unicodedata
from typing import Any, ClassVar

from django.contrib.auth.models import AbstractUser, UserManager
from django.db import models
from django.db.models.functions import Lower
from django.utils.translation import gettext_lazy as _


class Users(UserManager["User"]):
    def get_by_natural_key(self, username: str | None) -> "User":
        """Return the user with that name, in any case. Sign-in looks users up by it."""
        return self.get(username__iexact=unicodedata.normalize("NFKC", username or ""))


class User(AbstractUser):
    """A member, a moderator (``is_staff``) or the site owner (``is_superuser``, at most one)."""

    username = models.CharField(
        _("user name"),
        max_length=150,
        unique=True,
        validators=[AbstractUser.username_validator],
        error_messages={"unique": _("A user with that name already exists.")},
    )

    objects: ClassVar[Users] = Users()

    class Meta:
        verbose_name, verbose_name_plural = _("user"), _("users")
        constraints = [
            models.UniqueConstraint(Lower("username"), name="accounts_user_name"),
            models.UniqueConstraint(
                Lower("email"), condition=~models.Q(email=""), name="accounts_user_email"
            ),
            models.UniqueConstraint(
                fields=["is_superuser"],
                condition=models.Q(is_superuser=True),
                name="accounts_single_owner",
            ),
        ]

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.username = self.normalize_username(self.username)
        super().save(*args, **kwargs)
