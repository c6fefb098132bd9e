"""Groups that decide in the asker's place: their members, and what waits for them."""

import logging
import uuid
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts.models import User
from accounts.statements import Statement
from chat import refusals
from chat.models import Conversation, PersonRequest, RequestLook
from chat.waiting import is_open, open_requests, request_json

log = logging.getLogger(__name__)

LOOK_HOURS = 1  # a later look at the same request is recorded again
SHOWN = 100  # requests that one page lists

_warned: set[str] = set()  # groups without a member that this process has logged


def group_of(conversation: Conversation, tool: str) -> str:
    """Return the name of the group that decides about this tool of the conversation's agent; or ""."""
    group = settings.APPROVERS.get(conversation.agent, {}).get(tool, "")
    if group and group not in _warned and not members_of([group]).exclude(pk=conversation.owner_id).exists():
        _warned.add(group)
        log.warning("A request waits for the group %r, in which no active member can decide it", group)
    return group


def members_of(groups: Iterable[str]) -> QuerySet[User]:
    return User.objects.filter(groups__name__in=groups, is_active=True).distinct()


def concerned(conversation: Conversation, groups: Iterable[str] = ()) -> list[int]:
    """Return the members of these groups, and of those for which a request of the conversation may wait.

    Announce to them each change of the conversation that may open or close a request.
    """
    undecided = PersonRequest.objects.undecided().filter(run__conversation=conversation).exclude(approvers="")
    names = {*groups, *undecided.values_list("approvers", flat=True)} - {""}
    return list(members_of(names).values_list("pk", flat=True)) if names else []


_groups = Statement(lambda user: Group.objects.filter(user=user).values_list("name"))


def groups_for(user: User) -> list[str]:
    """Return the names of the user's groups that decide about a tool, or about a request that may be open."""
    own = {name for (name,) in _groups.all(user.pk)}
    if not own:
        return []
    deciding = {group for tools in settings.APPROVERS.values() for group in tools.values()}
    waiting = PersonRequest.objects.undecided().filter(approvers__in=own - deciding)
    return sorted(own & {*deciding, *waiting.values_list("approvers", flat=True)})


def requests_for(user: User) -> list[PersonRequest] | None:
    """Return the open requests that the user may decide as an approver, oldest first, at most SHOWN.

    Returns None for a user in no group that decides.
    """
    groups = groups_for(user)
    if not groups:
        return None
    undecided = PersonRequest.objects.waiting().filter(approvers__in=groups)
    found = undecided.exclude(run__owner=user).select_related("run__conversation", "run__owner")
    return [each for each in found.order_by("asked_at", "id")[:SHOWN] if is_open(each)]


@transaction.atomic
def look_at_requests(user: User) -> list[PersonRequest]:
    """Return ``requests_for``, and record that the user is shown them: committed before any is shown.

    Raises the 404 refusal for a user in no group that decides.
    """
    found = requests_for(user)
    if found is None:
        raise refusals.not_found()
    since = timezone.now() - timedelta(hours=LOOK_HOURS)
    recent = RequestLook.objects.filter(person=user, request__in=found, looked_at__gt=since)
    seen = set(recent.values_list("request_id", flat=True))
    RequestLook.objects.bulk_create(
        [RequestLook(person=user, request=each) for each in found if each.pk not in seen]
    )
    return found


def lock_request(user: User, request: uuid.UUID) -> PersonRequest:
    """Lock the conversation of an open request that the user may decide as an approver, and return it.

    Raises the 404 refusal, 403 for the asker, 409 and 423 as for the asker of another request.
    """
    named = PersonRequest.objects.exclude(approvers="").filter(pk=request)
    kept = Conversation.objects.select_for_update().filter(
        pk__in=named.values("run__conversation"), deleted_at=None
    )
    conversation = kept.first()
    if conversation is None:
        raise refusals.not_found()
    # With the lock: a decision or a change of the branch may have been stored while this one waited.
    found = named.select_related("run__owner").get()
    found.run.conversation = conversation
    if conversation.owner_id == user.pk:
        raise refusals.not_approver(found.approvers)
    asker = User.objects.able_to_ask().filter(pk=conversation.owner_id)
    if not (asker.exists() and members_of([found.approvers]).filter(pk=user.pk).exists()):
        raise refusals.not_found()
    if found.decision:
        raise refusals.answered(None)
    if conversation.locked_at:
        raise refusals.locked(None)  # the words are for the owner
    if found.pk not in {each.pk for each in open_requests(conversation)}:
        raise refusals.lapsed()
    return found


def approver_json(request: PersonRequest) -> dict[str, Any]:
    """Return a request as its approvers receive it: nothing of its conversation."""
    shown = request_json(request)
    return {
        **{name: value for name, value in shown.items() if name != "call"},
        "agent": request.run.conversation.agent,
        "asked_by": request.run.owner.username,
        "asked_at": request.asked_at.isoformat(),
    }
