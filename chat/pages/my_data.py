"""Pages of a member's own data: its download, and the deletion of the account."""

import logging

from allauth.account.decorators import reauthentication_required
from django.core.mail import EmailMessage
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import formats, timezone
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from accounts.models import User
from chat import erasure
from chat.http.address import browser_address
from chat.http.members import signed_in_user
from chat.models import AccountDeletion
from chat.pages.archive import archive_chunks
from chat.pages.views import see_other
from chat.refusals import Refusal

log = logging.getLogger(__name__)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def my_data(request: HttpRequest) -> HttpResponseBase:
    """Show the page (GET), or send the archive (POST). Raises the 429 refusal."""
    return _download(request) if request.method == "POST" else _page(request, "chat/my_data.html")


# allauth asks for the password, and then calls the view of the page again, with this POST.
@reauthentication_required  # type: ignore[untyped-decorator]
def _download(request: HttpRequest) -> HttpResponseBase:
    member = signed_in_user(request)
    if wait := erasure.claim_download(member):
        at = timezone.localtime(timezone.now() + wait)
        raise Refusal(
            429,
            "too_many",
            _("You can download your data once an hour: again on %(time)s.")
            % {"time": formats.date_format(at, "DATETIME_FORMAT")},
            retry_after=max(1, round(wait.total_seconds())),
        )
    chunks = archive_chunks(member, timezone.get_current_timezone())
    response = StreamingHttpResponse(chunks, content_type="application/zip")
    name = f"parley-{timezone.localdate():%Y-%m-%d}.zip"
    response["Content-Disposition"] = content_disposition_header(as_attachment=True, filename=name)
    return response


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def delete_account(request: HttpRequest) -> HttpResponse:
    """Show what a deletion does (GET), or ask for it (POST). Raises the 409 refusal for the site owner."""
    if request.method == "POST":
        found: HttpResponse = _ask_for_deletion(request)
        return found
    return _page(request, "chat/delete_account.html")


@reauthentication_required  # type: ignore[untyped-decorator]
def _ask_for_deletion(request: HttpRequest) -> HttpResponse:
    member = signed_in_user(request)
    deletion, is_new = erasure.request_deletion(member)
    if is_new:
        _send_letter(member, deletion)
    return see_other("chat:delete_account")


@never_cache
@require_POST
def keep_account(request: HttpRequest) -> HttpResponse:
    """Cancel the deletion of the account, and redirect to the page of its data."""
    erasure.cancel_deletion(signed_in_user(request))
    return see_other("chat:my_data")


def _page(request: HttpRequest, template: str) -> HttpResponse:
    deletion = AccountDeletion.objects.filter(user=signed_in_user(request)).first()
    return render(request, template, {"deletion": deletion, "days": erasure.ERASE_DAYS})


def _send_letter(member: User, deletion: AccountDeletion) -> None:
    if not member.email:
        return
    address = browser_address()
    facts = {
        "name": member.username,
        "due_at": deletion.due_at,
        "address": address,
        "link": address + reverse("chat:delete_account"),
    }
    title = render_to_string("chat/letters/deletion_subject.txt").strip()
    text = render_to_string("chat/letters/deletion_message.txt", facts)
    try:
        EmailMessage(title, text, to=[member.email]).send()
    except OSError as error:  # smtplib's errors, too, whose text may hold the address
        log.warning("The letter about a deletion was not sent: %s", type(error).__name__)
