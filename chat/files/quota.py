"""Limits of a member's files: of each one, and of all together."""

from django.conf import settings
from django.db.models import Exists, OuterRef, Sum
from django.utils.translation import gettext as _

from accounts.models import User
from chat import refusals
from chat.files.models import Blob, File

QUOTA_RETRY_SECONDS = 3600  # the sweep is what frees bytes


def check_quota(owner_id: int, size: int) -> None:
    """Raise the 413 refusal for a file that is too large, and the 429 one for a member with too much.

    Lock the member, and call it in the transaction that creates the file: two at the same time could exceed
    the quota otherwise.
    """
    if size > settings.FILE_MAX_BYTES:
        limit = _bytes(settings.FILE_MAX_BYTES)
        raise refusals.Refusal(413, "too_large", _("A file has at most %(limit)s.") % {"limit": limit})
    if used_bytes(owner_id) + size > settings.FILES_QUOTA_BYTES:
        limit = _bytes(settings.FILES_QUOTA_BYTES)
        raise refusals.Refusal(
            429,
            "quota",
            _("All your files have at most %(limit)s. Delete conversations with files that you don't need.")
            % {"limit": limit},
            retry_after=QUOTA_RETRY_SECONDS,
        )


def used_bytes(owner_id: int) -> int:
    """Return the bytes of a member's files, the same content once, and those that uploads have announced."""
    own = File.objects.filter(owner=owner_id)
    stored = Blob.objects.filter(Exists(own.filter(blob=OuterRef("pk"))))
    announced = own.filter(blob=None)
    return sum(each.aggregate(bytes=Sum("size"))["bytes"] or 0 for each in (stored, announced))


def lock_member(owner_id: int) -> None:
    """Let other files of this member wait until the transaction ends."""
    User.objects.select_for_update(no_key=True).filter(pk=owner_id).values_list("pk").first()


def _bytes(number: int) -> str:
    """Return a limit in the largest unit that fits it."""
    for unit, name in ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB")):
        if number >= unit:
            return f"{number / unit:.4g} {name}"
    return _("%(number)s bytes") % {"number": number}
