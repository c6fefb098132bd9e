"""The first page of the admin for moderators: the work that waits, and the runs in progress."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import User
from chat import approvers
from chat.access import may_watch
from chat.models import Purge, Run
from chat.moderated import label_of
from chat.moderation.duties import VIEW_QUEUE
from chat.moderation.figures import may_see_figures
from chat.moderation.models import ReviewItem

COUNTED = 100  # a larger number is shown as "99+"
CLAIMS_SHOWN = 5
RUNS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class OpenItems:
    """The undecided items of the review queue."""

    count: str
    oldest: datetime | None = None
    pressing_since: datetime | None = None
    pressing_reasons: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class RunningReplies:
    """The replies that are being written."""

    count: str
    by_agent: list[tuple[str, int]]
    watchable: list[tuple[Any, str, datetime]]  # id, agent and start of the newest ones


def start_of(request: HttpRequest) -> dict[str, Any]:
    """Return the blocks of the page: each None, or absent, without its permission."""
    user = request.user
    assert isinstance(user, User)
    waiting = approvers.requests_for(user)
    sees_queue = user.has_perm(VIEW_QUEUE)
    return {
        "items": _open_items() if sees_queue else None,
        "claims": _claims(user) if sees_queue else None,
        "running": _running(request) if user.has_perm("chat.view_run") else None,
        "waiting": None if waiting is None else _bounded(len(waiting)),
        "may_see_instruments": user.has_perm("chat.view_sample"),
        "may_see_figures": may_see_figures(user),
        "purge": Purge.objects.order_by("-day").first(),
    }


def _bounded(count: int) -> str:
    return str(count) if count < COUNTED else f"{COUNTED - 1}+"


def _open_items() -> OpenItems:
    undecided = ReviewItem.objects.undecided()
    count = undecided.order_by()[:COUNTED].count()
    if not count:
        return OpenItems("0")
    first = undecided.order_by("-priority", "opened_at", "id").only("status", "opened_at").first()
    oldest = undecided.order_by("opened_at").values_list("opened_at", flat=True).first()
    if first is None:  # decided meanwhile
        return OpenItems(_bounded(count), oldest)
    codes = first.reports.order_by("reason").values_list("reason", flat=True).distinct()
    reasons = [label_of(code) for code in codes]
    if first.status == ReviewItem.Status.APPEALED:
        reasons = [_("An appeal"), *reasons]
    return OpenItems(_bounded(count), oldest, first.opened_at, reasons)


def _claims(user: User) -> list[ReviewItem]:
    own = ReviewItem.objects.undecided().filter(claimed_by=user, claimed_until__gt=timezone.now())
    return list(own.order_by("claimed_until")[:CLAIMS_SHOWN])


def _running(request: HttpRequest) -> RunningReplies:
    running = Run.objects.reviewable().filter(status=Run.Status.RUNNING, ended_at=None)
    rows = list(
        running.order_by("-created_at").values_list("pk", "conversation__agent", "created_at")[:COUNTED]
    )
    by_agent = Counter(agent for _pk, agent, _at in rows).most_common()
    return RunningReplies(_bounded(len(rows)), by_agent, rows[:RUNS_SHOWN] if may_watch(request) else [])
