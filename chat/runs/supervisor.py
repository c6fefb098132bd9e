"""Supervisor of a process: its start and stop, its heartbeat, its background tasks and its running runs."""

import asyncio
import contextvars
import logging
import uuid
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from chat import doorbell, events, lifecycle, sign_ins
from chat.agent.agents import catalog, warming
from chat.agent.turn import containment
from chat.begin import Reservation
from chat.database import run_db, run_db_patiently
from chat.endings import End
from chat.instruments import logs, metrics
from chat.instruments.watchdog import Watchdog
from chat.models import Process, new_id
from chat.rendering import renderer
from chat.runs import processes, titles
from chat.runs.erasing import erase_regularly
from chat.runs.execution import HANDED_OVER, Abort, ClaimedRun, execute_run, prepare_run
from chat.runs.journal import Journal
from chat.runs.pending import watch_requests
from chat.runs.purging import purge_regularly
from chat.runs.reloading import newest_generation, watch_reloads
from chat.runs.sweep import sweep
from chat.samples import Sampler
from chat.search.index import index_due

log = logging.getLogger(__name__)

RESTART_SECONDS = 1.0  # before a background task that failed starts again


class Supervisor:
    """The supervisor of a process, which has one. ``start`` it before the first ``launch``."""

    def __init__(self) -> None:
        self.id: uuid.UUID | None = None
        self.draining = False
        self.generation = 0  # of AGENTS_DIR; chat/runs/reloading.py
        self._agents: dict[str, Any] = {}  # the columns of the process that describe its agents
        self.journal = Journal()
        self.sampler = Sampler()
        self._watchdog = Watchdog(containment.scope_of)
        self.runs: dict[uuid.UUID, tuple[asyncio.Task[None], Abort]] = {}
        self._reserved: set[uuid.UUID] = set()  # changed by threads, one element at a time
        self._background: list[asyncio.Task[None]] = []
        self._duties: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self._when_draining: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self._when_drained: list[Callable[[], None]] = []
        self._uninstall_containment: Callable[[], None] | None = None
        self._starting: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    # --- start and stop -----------------------------------------------------------------------

    def add_duty(
        self, duty: Callable[[], Coroutine[Any, Any, None]], *, on_drained: Callable[[], None] | None = None
    ) -> None:
        """Run ``duty`` while the process serves; call ``on_drained``, if given, once its runs have drained.

        For layers above this one, which it cannot import. Call it before the start.
        """
        self._duties.append(duty)
        if on_drained:
            self._when_drained.append(on_drained)

    def before_drain(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start ``work`` when the process begins to drain, which ends after it. Call it before the start."""
        self._when_draining.append(work)

    async def start(self) -> None:
        """Register the process and start the background tasks, which take over orphans.

        Further calls wait for the first. After a start that failed (the database was away), the next call
        tries again.
        """
        if self._starting is None or (self._starting.done() and not self.has_started):
            self._starting = asyncio.ensure_future(self._start())
        await asyncio.shield(self._starting)

    @property
    def has_started(self) -> bool:
        """Return whether the start is complete, with all slow imports done."""
        start = self._starting
        return start is not None and start.done() and not start.exception()

    async def _start(self) -> None:
        self._describe_agents(await run_db(newest_generation), Process.AgentsState.LOADING)
        self.id = await run_db(processes.register_process, self._agents)
        self._loop = loop = asyncio.get_running_loop()
        doorbell.set_loop(loop)
        if self._uninstall_containment is None:
            self._uninstall_containment = containment.install(loop)
        self._watchdog.start()
        self.draining = False
        await asyncio.gather(asyncio.to_thread(warming.warm_up), asyncio.to_thread(renderer.start))
        await warming.open_clients()
        await self.report_agents(self.generation, Process.AgentsState.LOADED)
        tasks = [
            self.journal.run,
            self._send_heartbeats,
            self._index_due,
            lambda: watch_requests(self),
            lambda: watch_reloads(self),
            doorbell.relay,
            sign_ins.watch,
            purge_regularly,
            erase_regularly,
            *self._duties,
        ]
        self._background = [_spawn(_run_for_ever(task)) for task in tasks]

    async def drain(self) -> None:
        """Claim no more runs, wait DRAIN_SECONDS for the current ones, and hand over the rest."""
        if self.id is None:
            return
        self.draining = True
        begun = [_spawn(work()) for work in self._when_draining]
        await self._try(processes.mark_draining, self.id)
        if self.runs:
            await asyncio.wait([task for task, _ in self.runs.values()], timeout=settings.DRAIN_SECONDS)
        self.hand_over()
        if left := [task for task, _ in self.runs.values()] + begun:
            await asyncio.wait(left, timeout=10)
        for close in self._when_drained:
            close()

    def hand_over(self) -> None:
        """Abort the runs, so that another process, or this one after its restart, executes them."""
        for _, abort in list(self.runs.values()):
            abort.request(HANDED_OVER)

    async def shut_down(self) -> None:
        """Cancel the background tasks and delete the registration."""
        doorbell.set_loop(None)
        await titles.stop_writing()
        await _cancel(self._background)
        self._background = []
        await catalog.close()
        self._watchdog.stop()
        if self._uninstall_containment is not None:
            self._uninstall_containment()
            self._uninstall_containment = None
        if self.id is not None:
            await self._try(self.sampler.take, self.id)
            await self._try(processes.unregister, self.id)
        self._starting = self._loop = self.id = None
        self.journal = Journal()

    # --- runs ---------------------------------------------------------------------------------

    def launch(self, run_id: uuid.UUID) -> None:
        """Try to claim and execute a run. Do nothing if it is not queued, or while this process drains."""
        if self.id is not None and not self.draining and run_id not in self.runs:
            self.spawn_run(run_id, lambda abort: self._claim_and_execute(run_id, abort))

    def reserve(self) -> Reservation | None:
        """Reserve the id of a run that this process is to execute; None if it executes none now.

        Until ``release`` the sweep leaves this run alone. For any thread.
        """
        if self.id is None or self.draining:
            return None
        reservation = Reservation(new_id(), self.id)
        self._reserved.add(reservation.run)
        return reservation

    def release(self, reservation: Reservation) -> None:
        """End a reservation whose ask has failed, or began no run, or whose run was launched."""
        self._call_soon(lambda: self._reserved.discard(reservation.run))

    def executes(self, run_id: uuid.UUID) -> bool:
        """Return whether this process executes the run, or is about to."""
        return run_id in self.runs or run_id in self._reserved

    def launch_claimed(self, claimed: ClaimedRun) -> None:
        """Execute a run that began as one of this process. For any thread."""
        run_id = claimed.run.pk
        self._call_soon(lambda: self.spawn_run(run_id, lambda abort: self._execute(claimed, abort)))

    def _call_soon(self, function: Callable[[], None]) -> None:
        # Without a loop no sweep runs here, and other processes take its runs over.
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function)

    def launch_soon(self, run_id: uuid.UUID) -> None:
        """Launch from any thread. A process that does not serve does nothing: the sweep finds the run."""
        self._call_soon(lambda: self.launch(run_id))

    def stop_run(self, run_id: uuid.UUID) -> None:
        """Stop a run if this process executes it."""
        if run_id in self.runs:
            self.runs[run_id][1].request(End(events.STOPPED))

    async def idle(self) -> None:
        """Wait until this process executes no run."""
        while self.runs:
            await asyncio.wait([task for task, _ in self.runs.values()])

    def spawn_run(self, run_id: uuid.UUID, work: Callable[[Abort], Coroutine[Any, Any, None]]) -> None:
        """Start the task of a run, whose ``work`` observes the Abort."""
        abort = Abort()
        self.runs[run_id] = (_spawn(self._guarded(run_id, work(abort))), abort)

    async def _guarded(self, run_id: uuid.UUID, work: Coroutine[Any, Any, None]) -> None:
        logs.set_task_run(run_id)
        try:
            with metrics.active_runs.one_more():
                await work
        except (DatabaseError, InterfaceError):
            # The run keeps its status; the sweep of this or another process takes it over.
            log.exception("Run %s lost its database", run_id)
        except Exception:
            log.exception(
                "Run %s was abandoned after an error of Parley", run_id
            )  # the sweep restarts or ends it
        finally:
            # A take-over may have replaced this task, whose claim came too late.
            if run_id in self.runs and self.runs[run_id][0] is asyncio.current_task():
                del self.runs[run_id]

    async def _claim_and_execute(self, run_id: uuid.UUID, abort: Abort) -> None:
        assert self.id is not None
        claimed = await run_db(_claim, run_id, self.id)
        if claimed:
            await self._execute(claimed, abort)

    async def _execute(self, claimed: ClaimedRun, abort: Abort) -> None:
        if claimed.run.stop_requested_at:
            abort.request(End(events.STOPPED))
        await execute_run(claimed, self.journal, abort)
        titles.title_soon(claimed.run.pk)

    # --- background tasks ---------------------------------------------------------------------

    async def report_agents(self, generation: int, state: str, error: str = "") -> None:
        """Store which generation of AGENTS_DIR this process has loaded, is loading or could not load."""
        self._describe_agents(generation, state, error)
        if self.id is not None:
            await run_db_patiently(processes.report_agents, self.id, self._agents)

    def _describe_agents(self, generation: int, state: str, error: str = "") -> None:
        self.generation = generation
        self._agents = {
            "agents_generation": generation,
            "agents_state": state,
            "agents_since": timezone.now(),
            "agents_error": error,
            "agents": catalog.conditions(),
        }

    async def _send_heartbeats(self) -> None:
        while True:
            await self._try(self._renew_and_sweep_once)
            await asyncio.sleep(settings.HEARTBEAT_SECONDS)

    async def _renew_and_sweep_once(self) -> None:
        assert self.id is not None
        # Renew before the sweep, or a slow process would take over its own runs.
        if not await run_db(processes.renew, self.id):
            self.id = await run_db(processes.register_process, self._agents)
        if not self.draining:
            await sweep(self)
        await self.sampler.take_if_due(self.id)

    async def _index_due(self) -> None:
        """Take new messages and titles into the full-text index. A member's search takes in their own."""
        while True:
            while await self._try(index_due):
                pass
            await asyncio.sleep(settings.HEARTBEAT_SECONDS)

    async def _try(self, function: Any, *args: Any) -> Any:
        """Call a function that needs the database; log and return None if the database is away."""
        try:
            if asyncio.iscoroutinefunction(function):
                return await function(*args)
            return await run_db(function, *args)
        except (DatabaseError, InterfaceError) as error:
            log.warning("%s: the database did not answer: %s", function.__name__, error)
            return None


def _claim(run_id: uuid.UUID, process_id: uuid.UUID) -> ClaimedRun | None:
    found = lifecycle.claim(run_id, process_id)
    return prepare_run(*found) if found else None


supervisor = Supervisor()


def _spawn(work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
    """Start a task with an empty context: it inherits nothing of the request that started it."""
    return asyncio.get_running_loop().create_task(work, context=contextvars.Context())


async def _run_for_ever(task: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a background task, and start it again after an error: without it, runs would wait for ever."""
    while True:
        try:
            return await task()
        except Exception:
            log.exception("A background task failed and starts again")
            await asyncio.sleep(RESTART_SECONDS)


async def _cancel(tasks: "Iterable[asyncio.Task[None]]") -> None:
    """Cancel the tasks repeatedly until they end: some libraries swallow a cancellation."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=1)
        for task in left:
            log.warning("%s ignored its cancellation and is cancelled again", task.get_coro())
