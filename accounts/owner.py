"""One-time set-up link that creates the site owner."""

import hmac

from django.conf import settings
from django.db import transaction

from accounts.models import User
from accounts.secret_file import secret_from_file


def owner_exists() -> bool:
    return User.objects.filter(is_superuser=True).exists()


def setup_token() -> str | None:
    """Return the set-up link's token, created in DATA_DIR on first use; None once there is an owner."""
    if owner_exists():
        forget_token()
        return None
    return secret_from_file(settings.SETUP_TOKEN_FILE, 32)


def token_is_valid(token: str) -> bool:
    expected = setup_token()
    return expected is not None and hmac.compare_digest(expected.encode(), token.encode())


@transaction.atomic
def make_owner(user: User) -> None:
    """Store ``user`` as the site owner. Raises IntegrityError if there is one already."""
    user.is_superuser = user.is_staff = True
    user.save()


@transaction.atomic
def change_owner(user: User) -> User | None:
    """Make ``user`` the site owner. Return the former one, who stays staff; None if there was none."""
    former = User.objects.select_for_update().filter(is_superuser=True).first()
    if former:  # first, because the database allows one
        User.objects.filter(pk=former.pk).update(is_superuser=False)
    User.objects.filter(pk=user.pk).update(is_superuser=True, is_staff=True)
    return former


def forget_token() -> None:
    settings.SETUP_TOKEN_FILE.unlink(missing_ok=True)
