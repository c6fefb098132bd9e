"""User model: members, moderators and the site owner."""

import unicodedata
import uuid
from collections.abc import Iterator
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.models import AbstractUser, UserManager
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models.functions import Lower, Now
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext_lazy as _

from accounts.statements import Statement

_SESSION_SALT = "django.contrib.auth.models.AbstractBaseUser.get_session_auth_hash"


def fold_case(name: str) -> str:
    """Return the form in which names are compared: in any case and width, in every script."""
    # Not by the database: SQLite knows the two cases of ASCII letters only. Accents stay, they make other
    # names: accounts/folding.py drops them for searches.
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def able_to_ask(user: str) -> models.Q:
    """Return the condition that a user may ask; ``user`` is the path to it, such as ``owner__``."""
    now = Now()
    ended = models.Q((f"{user}suspended_until", None)) | models.Q((f"{user}suspended_until__lte", now))
    return ended & models.Q((f"{user}is_active", True))


class FoldedName(models.CharField):  # type: ignore[type-arg]
    """Column with the folded user name, written with each new user."""

    def pre_save(self, model_instance: Any, add: bool) -> str:
        folded: str = fold_case(model_instance.username) if add else getattr(model_instance, self.attname)
        setattr(model_instance, self.attname, folded)
        return folded


class Users(UserManager["User"]):
    def get(self, *args: Any, **kwargs: Any) -> "User":
        """Return the user that Django's ``get`` finds."""
        # by its key alone, for each request
        if args or kwargs.keys() != {"pk"} or type(kwargs["pk"]) is not int:
            return super().get(*args, **kwargs)
        found = _by_key.first(kwargs["pk"])
        if found is None:
            raise User.DoesNotExist
        return found

    def able_to_ask(self) -> "models.QuerySet[User]":
        """Return the users that are active and not suspended."""
        return self.filter(able_to_ask(""))

    def get_by_natural_key(self, username: str | None) -> "User":
        """Return the user with that name, in any case. Sign-in looks users up by it."""
        return self.get(folded_name=fold_case(username or ""))


class User(AbstractUser):
    """A member, a moderator (``is_staff``) or the site owner (``is_superuser``, at most one)."""

    username = models.CharField(
        _("user name"),
        max_length=150,
        unique=True,
        validators=[AbstractUser.username_validator],
        error_messages={"unique": _("A user with that name already exists.")},
    )
    # Casefolding makes a letter three at most.
    folded_name = FoldedName(max_length=450, unique=True, editable=False)
    # stands for the user in the audit, which has no name: without this row, nobody can tell whose it was
    audit_id = models.UUIDField(null=True, default=uuid.uuid4, editable=False)
    # raised to end all sign-ins of the account. Null counts as 0
    sign_in_epoch = models.PositiveIntegerField(null=True, editable=False)
    # until then, by the database's time, the user asks and answers nothing
    suspended_until = models.DateTimeField(null=True, editable=False)
    # why, and by which decision of chat/moderation
    suspended_reason = models.CharField(max_length=32, null=True, editable=False)  # noqa: DJ001  (as epoch)
    suspended_decision = models.UUIDField(null=True, editable=False)
    # of a warning that the user has not acknowledged, and its decision: until then nothing is asked
    warned_at = models.DateTimeField(null=True, editable=False)
    warned_decision = models.UUIDField(null=True, editable=False)
    # since when the user has not read that staff acted on the account
    staff_acted_at = models.DateTimeField(null=True, editable=False)

    objects: ClassVar[Users] = Users()

    class Meta:
        verbose_name, verbose_name_plural = _("user"), _("users")
        constraints = [
            models.UniqueConstraint(
                Lower("email"), condition=~models.Q(email=""), name="accounts_user_email"
            ),
            models.UniqueConstraint(
                fields=["is_superuser"],
                condition=models.Q(is_superuser=True),
                name="accounts_single_owner",
            ),
            # the audit: the user of a row
            models.UniqueConstraint(
                fields=["audit_id"],
                condition=models.Q(audit_id__isnull=False),
                name="accounts_user_audit_id",
            ),
        ]

    def is_suspended(self) -> bool:
        """Return whether the user is suspended now, by the database's time."""
        if self.suspended_until is None:
            return False
        return User.objects.filter(pk=self.pk, suspended_until__gt=Now()).exists()

    def get_session_auth_hash(self) -> str:
        """Return the value that a session must hold: another one after a new password or a new epoch."""
        return self._hash_of(self.password)

    def get_session_auth_fallback_hash(self) -> Iterator[str]:
        """Yield the same for the keys of before."""
        for key in settings.SECRET_KEY_FALLBACKS:
            yield self._hash_of(self.password, secret=key)

    def _hash_of(self, password: str, **key: str | bytes) -> str:
        # Epoch 0 as Django has it, so that the upgrade signs nobody out.
        value = f"{password}#{self.sign_in_epoch}" if self.sign_in_epoch else password
        return salted_hmac(_SESSION_SALT, value, algorithm="sha256", **key).hexdigest()

    def clean(self) -> None:
        """Check what the form of the admin does not: a name that only its case makes another one."""
        super().clean()
        if User.objects.filter(folded_name=fold_case(self.username or "")).exclude(pk=self.pk).exists():
            raise ValidationError({"username": _("A user with that name already exists.")})

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.username = self.normalize_username(self.username)
        self.email = self.email.lower()  # in every script, unlike SQLite
        changed = kwargs.get("update_fields")
        if changed is None or "username" in changed:
            self.folded_name = fold_case(self.username)
            kwargs |= {"update_fields": {*changed, "folded_name"}} if changed else {}
        super().save(*args, **kwargs)


_by_key = Statement(lambda pk: User._default_manager.filter(pk=pk))
