"""Account pages that allauth lacks or that need a change: set-up and e-mail addresses."""

from contextlib import nullcontext

from allauth.account import views as allauth_views
from allauth.account.models import EmailAddress
from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.decorators import login_not_required
from django.db import IntegrityError, transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from accounts import owner
from accounts.forms import OwnerForm


@never_cache
@login_not_required
@sensitive_post_parameters()
@require_http_methods(["GET", "POST"])
def set_up(request: HttpRequest, token: str) -> HttpResponse:
    """Create the site owner. 404 for a wrong token, and for every token once there is an owner."""
    if not owner.token_is_valid(token):
        raise Http404
    form = OwnerForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        user = form.user()
        try:
            owner.make_owner(user)
        except IntegrityError as error:  # another request made an owner first
            raise Http404 from error
        owner.forget_token()
        login(request, user, backend="allauth.account.auth_backends.AuthenticationBackend")
        return redirect("chat:home")
    return render(request, "accounts/set_up.html", {"form": form}, status=422 if form.errors else 200)


def email(request: HttpRequest) -> HttpResponse:
    """Show allauth's page of e-mail addresses, and ask before one is removed.

    Refuse a primary address that another account has.
    """
    if "action_remove" in request.POST and "confirmed" not in request.POST:
        own = EmailAddress.objects.filter(user=request.user)
        if asked := own.filter(email=request.POST.get("email", "")).first():
            context = {"address": asked.email, "is_only_one": own.count() == 1}
            return render(request, "account/email_remove.html", context)
    # A transaction for this action only: the others send e-mails, during which it would lock SQLite.
    changes_user = "action_primary" in request.POST
    try:
        with transaction.atomic() if changes_user else nullcontext():
            answer: HttpResponse = allauth_views.email(request)
            return answer
    except IntegrityError:
        messages.error(request, _("This e-mail address belongs to another account."))
        return redirect("account_email")
