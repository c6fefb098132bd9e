"""The rules that the site's owner sets, and the page where that is done."""

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts.models import User
from chat.http import parsing
from chat.http.fields import Fields, Flag
from chat.http.members import signed_in_user
from chat.moderation import audit
from chat.moderation.models import Policy


class PolicyForm(Fields):
    """Fields of the form; a box that is not ticked is absent."""

    members_see_looks: Flag = False
    takes_reports: Flag = False
    takes_feedback: Flag = False
    takes_blocks: Flag = False
    watches_live: Flag = False


SWITCHES = tuple(PolicyForm.model_fields)


def policy_in_force() -> Policy:
    return Policy.objects.first() or Policy()


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def policy_page(request: HttpRequest) -> HttpResponse:
    """Show the rules to the site's owner; a POST changes them. Each change is a row of the audit."""
    owner = signed_in_user(request)
    if not owner.is_superuser:
        raise PermissionDenied
    if request.method == "POST":
        _store_rules(owner, PolicyForm.read(parsing.body_of(request)))
        messages.success(request, _("The rules are stored. Members read them under “What staff can see”."))
        return HttpResponseRedirect(reverse("policy"), status=303)
    context = {**admin.site.each_context(request), "title": _("Rules"), "policy": policy_in_force()}
    return render(request, "admin/moderation/policy.html", context)


@transaction.atomic
def _store_rules(owner: User, form: PolicyForm) -> None:
    # Locked, so that of two changes at the same time each is compared with what it replaces.
    Policy.objects.get_or_create(pk=1)
    policy = Policy.objects.select_for_update().get(pk=1)
    changed = [name for name in SWITCHES if getattr(form, name) != getattr(policy, name)]
    for name in changed:
        is_on = getattr(form, name)
        setattr(policy, name, is_on)
        reason = "on" if is_on else "off"
        audit.record("policy.change", actor=owner, object_type="policy", object_id=name, reason=reason)
    policy.changed_at = timezone.now()
    policy.save(update_fields=[*changed, "changed_at"])
