"""Reloads of AGENTS_DIR: each one is a row in the database, and every server process follows it."""

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import DatabaseError, InterfaceError, transaction
from django.db.models import Max

from accounts.models import User
from chat import doorbell
from chat.agent.agents import catalog, warming
from chat.database import run_db
from chat.models import Process, Reload

if TYPE_CHECKING:
    from chat.runs.supervisor import Supervisor

log = logging.getLogger(__name__)

RELOADS = "reloads"  # name of the doorbell that rings when a reload was requested
# With other processes, a ring may be lost. On SQLite the only server receives every ring directly.
RELOAD_POLL_SECONDS = None if settings.ON_SQLITE else 1.0


def request_reload(user: User) -> int:
    """Request that every process loads AGENTS_DIR again. Return the new generation."""
    requested = Reload.objects.create(requested_by=user)
    transaction.on_commit(partial(doorbell.ring_soon, [RELOADS]))
    return requested.pk


def newest_generation() -> int:
    newest: int | None = Reload.objects.aggregate(newest=Max("pk"))["newest"]
    return newest or 0


async def watch_reloads(supervisor: "Supervisor") -> None:
    """Load AGENTS_DIR again as requested, for as long as the process serves."""
    bell = asyncio.Event()
    with doorbell.listen(RELOADS, bell.set):
        while True:
            bell.clear()
            try:
                newest = await run_db(newest_generation)
                if newest != supervisor.generation:
                    await _reload(supervisor, newest)
            except (DatabaseError, InterfaceError) as error:
                log.warning("Reloads wait: the database did not answer: %s", error)
            try:
                async with asyncio.timeout(RELOAD_POLL_SECONDS):
                    await bell.wait()
            except TimeoutError:
                pass  # poll


async def _reload(supervisor: "Supervisor", generation: int) -> None:
    await supervisor.report_agents(generation, Process.AgentsState.LOADING)
    try:
        await catalog.reload(warming.warm_up)
    except Exception as error:
        log.exception("The agents could not be reloaded, and stay as they are")
        why = f"{type(error).__name__}: {error}"
        await supervisor.report_agents(generation, Process.AgentsState.FAILED, why)
    else:
        log.info("The agents were reloaded: generation %d", generation)
        await supervisor.report_agents(generation, Process.AgentsState.LOADED)
