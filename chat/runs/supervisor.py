"""Supervisor of a process: its run tasks, its heartbeat, its background tasks, and the sweep of orphans."""

import asyncio
import contextvars
import logging
import uuid
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError

from chat import doorbell, events, lifecycle
from chat.agent.agents import catalog, warming
from chat.agent.turn import containment
from chat.database import run_db, sqlite_stamp
from chat.endings import End
from chat.instruments import logs, metrics
from chat.instruments.watchdog import Watchdog
from chat.lifecycle import Claim
from chat.models import Run
from chat.rendering import renderer
from chat.runs import duties, processes, sweep
from chat.runs.execution import HANDED_OVER, Abort, deliver_rows, end_from_log, execute_run
from chat.runs.journal import Journal
from chat.samples import Sampler

log = logging.getLogger(__name__)

PENDING_REQUESTS = "requests"  # name of the doorbell that rings when a run is assigned, or its stop requested
# The interval for polling such requests without the doorbell. Without Redis, polling is the only way to find
# an assigned run, for which a user waits at a terminal.
REQUEST_SECONDS = 0.5 if settings.REDIS_URL else 0.2


class Supervisor:
    """The supervisor of a process, which has one. ``start`` it before the first ``launch``."""

    def __init__(self) -> None:
        self.id: uuid.UUID | None = None
        self.draining = False
        self.journal = Journal()
        self.sampler = Sampler()
        self._watchdog = Watchdog(containment.scope_of)
        self._runs: dict[uuid.UUID, tuple[asyncio.Task[None], Abort]] = {}
        self._duties: list[asyncio.Task[None]] = []
        self._uninstall_containment: Callable[[], None] | None = None
        self._starting: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stamp: tuple[int, ...] | None = None  # of the SQLite file, at the last poll
        self._changed = False  # whether the last poll found a new stamp

    # --- start and stop -----------------------------------------------------------------------

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
        self.id = await run_db(processes.register_process)
        self._loop = asyncio.get_running_loop()
        doorbell.set_loop(self._loop)
        if self._uninstall_containment is None:
            self._uninstall_containment = containment.install(self._loop)
        self._watchdog.start()
        self.draining = False
        await asyncio.gather(asyncio.to_thread(warming.warm_up), asyncio.to_thread(renderer.start))
        await warming.open_clients()
        self._duties = [
            _spawn(self.journal.run()),
            _spawn(self._send_heartbeats()),
            _spawn(self._watch_requests()),
            _spawn(doorbell.relay()),
            *(_spawn(duty()) for duty in duties.while_serving),
        ]

    async def drain(self) -> None:
        """Claim no more runs, wait DRAIN_SECONDS for the current ones, and hand over the rest."""
        if self.id is None:
            return
        self.draining = True
        await self._try(processes.mark_draining, self.id)
        if self._runs:
            await asyncio.wait([task for task, _ in self._runs.values()], timeout=settings.DRAIN_SECONDS)
        self.hand_over()
        if self._runs:
            await asyncio.wait([task for task, _ in self._runs.values()], timeout=10)
        for close in duties.when_drained:
            close()

    def hand_over(self) -> None:
        """Abort the runs, so that another process, or this one after its restart, executes them."""
        for _, abort in list(self._runs.values()):
            abort.request(HANDED_OVER)

    async def shut_down(self) -> None:
        """Cancel the background tasks and delete the registration."""
        doorbell.set_loop(None)
        await _cancel(self._duties)
        self._duties = []
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
        if self.id is not None and not self.draining and run_id not in self._runs:
            self._spawn_run(run_id, lambda abort: self._claim_and_execute(run_id, abort))

    def stop_run(self, run_id: uuid.UUID) -> None:
        """Stop a run if this process executes it."""
        if run_id in self._runs:
            self._runs[run_id][1].request(End(events.STOPPED))

    async def ring_for_stop(self, run_id: uuid.UUID) -> None:
        """Stop the run if it is executed here.

        Ring for the other processes, and for readers of a run that ended while it was queued.
        """
        self.stop_run(run_id)
        await doorbell.ring([PENDING_REQUESTS, str(run_id)])

    def ring_for_stop_from_thread(self, run_id: uuid.UUID) -> None:
        """Call ``ring_for_stop`` from a synchronous view, without waiting."""
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(self.ring_for_stop(run_id), self._loop)

    async def idle(self) -> None:
        """Wait until this process executes no run."""
        while self._runs:
            await asyncio.wait([task for task, _ in self._runs.values()])

    def _spawn_run(self, run_id: uuid.UUID, work: Callable[[Abort], Coroutine[Any, Any, None]]) -> None:
        abort = Abort()
        self._runs[run_id] = (_spawn(self._guarded(run_id, work(abort))), abort)

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
            self._runs.pop(run_id, None)

    async def _claim_and_execute(self, run_id: uuid.UUID, abort: Abort) -> None:
        assert self.id is not None
        claimed = await run_db(lifecycle.claim, run_id, self.id)
        if claimed:
            claim, run = claimed
            if run.stop_requested_at:
                abort.request(End(events.STOPPED))
            await execute_run(claim, run, self.journal, abort)

    async def _restart(self, claim: Claim, run: Run, abort: Abort) -> None:
        rows = await run_db(lifecycle.restart, claim)
        if rows is not None:
            deliver_rows(claim, rows)
            await execute_run(claim, run, self.journal, abort)

    async def _end_from_log(self, claim: Claim, run: Run, end: End) -> None:
        deliver_rows(claim, await end_from_log(claim, run, end))

    # --- background tasks ---------------------------------------------------------------------

    async def _send_heartbeats(self) -> None:
        while True:
            await self._try(self._renew_and_sweep_once)
            await asyncio.sleep(settings.HEARTBEAT_SECONDS)

    async def _renew_and_sweep_once(self) -> None:
        assert self.id is not None
        # Renew before the sweep, or a slow process would take over its own runs.
        if not await run_db(processes.renew, self.id):
            self.id = await run_db(processes.register_process)
        if not self.draining:
            await self.sweep()
        await self.sampler.take_if_due(self.id)

    async def sweep(self) -> None:
        """Take runs that no process executes: queued for too long, or left by a dead process."""
        # On SQLite no other process could claim them, so all queued runs are taken.
        for run_id in await run_db(sweep.left_in_queue, everything=settings.ON_SQLITE):
            self.launch(run_id)
        for run_id, epoch in await run_db(sweep.orphans, self.id):
            if run_id not in self._runs:
                await self._take_over(run_id, epoch)

    async def _take_over(self, run_id: uuid.UUID, epoch: int) -> None:
        assert self.id is not None
        taken = await run_db(lifecycle.take_over, run_id, epoch, self.id)
        if taken is None:
            return
        claim, run = taken
        end = await run_db(sweep.end_of_orphan, run)
        if end is None:
            log.warning("Run %s is restarted: no process executed it", run_id)
            self._spawn_run(run_id, lambda abort: self._restart(claim, run, abort))
        else:
            log.warning("Run %s is ended: no process executed it", run_id)
            self._spawn_run(run_id, lambda _abort: self._end_from_log(claim, run, end))

    async def _watch_requests(self) -> None:
        bell = asyncio.Event()
        with doorbell.listen(PENDING_REQUESTS, bell.set):
            while True:
                try:
                    async with asyncio.timeout(REQUEST_SECONDS):
                        await bell.wait()
                except TimeoutError:
                    pass  # poll
                if bell.is_set() or self._runs or self._database_changed():
                    bell.clear()
                    await self._handle_requests()

    def _database_changed(self) -> bool:
        """Return whether another process may have written a request without ringing the doorbell."""
        if settings.REDIS_URL:
            return False
        before, self._stamp = self._stamp, sqlite_stamp()
        changed_before, self._changed = self._changed, self._stamp is None or self._stamp != before
        # A changed stamp causes two rounds of queries: it changes just before the commit is visible.
        return self._changed or changed_before

    async def _handle_requests(self) -> None:
        assert self.id is not None
        for run_id, status in await self._try(processes.pending_requests, self.id, list(self._runs)) or []:
            if status == Run.Status.QUEUED:
                self.launch(run_id)
            else:
                self.stop_run(run_id)

    async def _try(self, function: Any, *args: Any) -> Any:
        """Call a function that needs the database; log and return None if the database is away."""
        try:
            if asyncio.iscoroutinefunction(function):
                return await function(*args)
            return await run_db(function, *args)
        except (DatabaseError, InterfaceError) as error:
            log.warning("%s: the database did not answer: %s", function.__name__, error)
            return None


supervisor = Supervisor()


def _spawn(work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
    """Start a task with an empty context: it inherits nothing of the request that started it."""
    return asyncio.get_running_loop().create_task(work, context=contextvars.Context())


async def _cancel(tasks: "Iterable[asyncio.Task[None]]") -> None:
    """Cancel the tasks repeatedly until they end: some libraries swallow a cancellation."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        ended, left = await asyncio.wait(left, timeout=1)
        for task in ended:
            if not task.cancelled() and (error := task.exception()):
                log.error("A background task had failed", exc_info=error)
        for task in left:
            log.warning("%s ignored its cancellation and is cancelled again", task.get_coro())
