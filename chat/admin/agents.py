"""The agents in the admin: a page for each, and the reload of AGENTS_DIR."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Q, Sum
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from chat.agent.agents import catalog
from chat.agent.agents.catalog import Condition
from chat.agent.agents.folder import FolderAgent
from chat.agent.agents.overview import overview_of
from chat.models import Process, Reload, Run
from chat.runs.reloading import request_reload

USAGE_DAYS = (7, 30)
RUNS_COUNTED = 50_000  # of the newest: 40 ms of CPU on SQLite
FAILURES = (Run.Status.FAILED, Run.Status.EXPIRED)
FAILURES_READ = 500  # of the newest failed runs of all agents
FAILURES_SHOWN = 10
RELOAD_WAIT_SECONDS = 5.0  # for all processes, before the page is shown; it says which ones still load


@dataclass(frozen=True, slots=True)
class AgentUsage:
    """Runs of an agent that ended in the last days."""

    days: int
    runs: int = 0
    failures: int = 0
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class AgentRow:
    """An agent in the list."""

    name: str
    condition: Condition
    reason: str
    usage: list[AgentUsage]


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def agents_page(request: HttpRequest) -> HttpResponse:
    """Show all agents to staff who may view runs. A POST of the site's owner reloads AGENTS_DIR."""
    _check_permission(request)
    if request.method == "POST":
        return _reload(request)
    usage, since = read_usage()
    rows = [
        AgentRow(
            agent.name, catalog.condition_of(agent), str(agent.reason or ""), _usage_of(agent.name, usage)
        )
        for agent in _all_agents()
    ]
    context = {
        **_context(request, _("Agents")),
        "rows": rows,
        "counted_since": since,
        "has_folder": settings.AGENTS_DIR is not None,
        "processes": _process_rows(),
        "last_reload": Reload.objects.select_related("requested_by").order_by("-pk").first(),
    }
    return render(request, "admin/agents/list.html", context)


@never_cache
@require_safe
def agent_page(request: HttpRequest, name: str) -> HttpResponse:
    """Show one agent: its condition, models, tools, usage and last failures.

    Only the site's owner sees the exception of a broken one and the names of its variables.
    """
    _check_permission(request)
    agent = next((each for each in _all_agents() if each.name == name), None)
    if agent is None:
        raise Http404
    usage, since = read_usage()
    context = {
        **_context(request, agent.name),
        "agent": agent,
        "condition": catalog.condition_of(agent),
        "overview": overview_of(agent.runner) if agent.runner else [],
        "usage": _usage_of(agent.name, usage),
        "counted_since": since,
        "failures": _last_failures(agent.name),
        "processes": [] if agent.name == settings.AGENT_NAME else _process_rows(agent.name),
    }
    return render(request, "admin/agents/agent.html", context)


def read_usage() -> tuple[dict[str, list[AgentUsage]], datetime | None]:
    """Return the usage of each agent over USAGE_DAYS.

    With more than RUNS_COUNTED runs, only the newest are counted: also return since when, else None.
    """
    now = timezone.now()
    since = now - timedelta(days=max(USAGE_DAYS))
    ended = Run.objects.counted().filter(ended_at__gte=since)
    bound = ended.order_by("-ended_at").values_list("ended_at", flat=True)[RUNS_COUNTED:][:1].first()
    counted = ended.filter(ended_at__gt=bound) if bound else ended
    figures: dict[str, Any] = {}
    for days in USAGE_DAYS:
        within = Q(ended_at__gte=now - timedelta(days=days))
        figures |= {
            f"runs_{days}": Count("pk", filter=within),
            f"failures_{days}": Count("pk", filter=within & Q(status__in=FAILURES)),
            f"tokens_{days}": Sum("usage_total", filter=within, default=0),
        }
    rows: Iterator[Any] = counted.order_by().values("conversation__agent").annotate(**figures).iterator()
    found = {
        row["conversation__agent"]: [
            AgentUsage(days, row[f"runs_{days}"], row[f"failures_{days}"], row[f"tokens_{days}"])
            for days in USAGE_DAYS
        ]
        for row in rows
    }
    return found, bound


def _check_permission(request: HttpRequest) -> None:
    if not request.user.has_perm("chat.view_run"):
        raise PermissionDenied


def _context(request: HttpRequest, title: str) -> dict[str, Any]:
    return {
        **admin.site.each_context(request),
        "title": title,
        "is_owner": request.user.is_superuser,
    }


def _process_rows(name: str = "") -> list[tuple[Process, str]]:
    """Return each living process with the condition of this agent in it, or with the agents broken in it."""
    labels = {str(value): str(label) for value, label in Condition.choices}
    rows = []
    for process in Process.objects.living().order_by("started_at")[:100]:
        conditions: dict[str, str] = process.agents or {}
        broken = ", ".join(agent for agent, condition in conditions.items() if condition != Condition.GOOD)
        rows.append((process, labels.get(conditions.get(name, ""), "") if name else broken))
    return rows


def _all_agents() -> Iterator[FolderAgent]:
    name = settings.AGENT_NAME
    yield FolderAgent(name, settings.AGENT_DESCRIPTION, catalog.runner_of(name))
    yield from catalog.folder_agents()


def _usage_of(name: str, usage: dict[str, list[AgentUsage]]) -> list[AgentUsage]:
    return usage.get(name) or [AgentUsage(days) for days in USAGE_DAYS]


def _last_failures(name: str) -> list[Run]:
    """Return the newest failed runs of this agent, among the newest FAILURES_READ of all agents."""
    failed = Run.objects.reviewable().filter(status=Run.Status.FAILED).order_by("-created_at", "-id")
    newest = failed.values_list("pk", "conversation__agent")[:FAILURES_READ]
    own = [pk for pk, agent in newest if agent == name][:FAILURES_SHOWN]
    return list(failed.filter(pk__in=own).defer("state_after"))


def _reload(request: HttpRequest) -> HttpResponse:
    if not request.user.is_superuser:
        raise PermissionDenied
    generation = request_reload(request.user)
    behind = Process.objects.living().exclude(
        agents_generation__gte=generation,
        agents_state__in=[Process.AgentsState.LOADED, Process.AgentsState.FAILED],
    )
    until = time.monotonic() + RELOAD_WAIT_SECONDS
    while behind.exists() and time.monotonic() < until:
        time.sleep(0.1)
    if behind.exists():
        messages.warning(request, _("Not all processes have loaded the agents yet. This page shows which."))
    else:
        messages.success(request, _("All processes have loaded the agents again."))
    return HttpResponseRedirect(reverse("agents"))
