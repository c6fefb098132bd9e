"""The one-time link that makes the site's owner."""

import hmac
import secrets

from django.conf import settings
from django.db import transaction

from accounts.models import User
from config import env


def owner_exists() -> bool:
    return User.objects.filter(is_superuser=True).exists()


def setup_token() -> str | None:
    """The token of the set-up link, made (0600, in DATA_DIR) on first use; None once there is an owner."""
    if owner_exists():
        forget_token()
        return None
    if not settings.SETUP_TOKEN_FILE.exists():
        env.write_once(settings.SETUP_TOKEN_FILE, secrets.token_urlsafe(32))
    return str(settings.SETUP_TOKEN_FILE.read_text().strip())


def token_is_valid(token: str) -> bool:
    expected = setup_token()
    return expected is not None and hmac.compare_digest(expected.encode(), token.encode())


@transaction.atomic
def make_owner(user: User) -> None:
    """Make ``user`` the owner. Raises IntegrityError where there is one already."""
    user.is_superuser = user.is_staff = True
    user.save()


def forget_token() -> None:
    settings.SETUP_TOKEN_FILE.unlink(missing_ok=True)
