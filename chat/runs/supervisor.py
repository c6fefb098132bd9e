"""This process's runs: launched, aborted, drained; its heartbeat, and the sweep of others' orphans."""

import asyncio
import contextvars
import logging
import uuid
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError

from chat import doorbell, lifecycle
from chat.agent.agents import catalog, warming
from chat.agent.turn import containment
from chat.database import run_db, sqlite_stamp
from chat.instruments import logs, metrics
from chat.instruments.watchdog import Watchdog
from chat.lifecycle import Claim
from chat.models import Run
from chat.rendering import process
from chat.runs import duties, processes, sweep
from chat.runs.execution import HAND_OVER, STOP, Abort, end_orphan, execute_run, show_rows
from chat.runs.journal import Journal
from chat.samples import Sampler

log = logging.getLogger(__name__)

PENDING_REQUESTS = "requests"  # the bell that says: a run was offered, or its stop requested, somewhere
# How often a process looks for such requests without having been rung. Without Redis nothing else tells
# of an offer, and somebody waits at a terminal.
REQUEST_SECONDS = 0.5 if settings.REDIS_URL else 0.2


class Supervisor:
    """One a process. ``start`` before the first ``launch``; ``stop`` in the end."""

    def __init__(self) -> None:
        self.id: uuid.UUID | None = None
        self.draining = False
        self.journal = Journal()
        self.sampler = Sampler()
        self._watchdog = Watchdog(containment.scope_of)
        self._runs: dict[uuid.UUID, tuple[asyncio.Task[None], Abort]] = {}
        self._duties: list[asyncio.Task[None]] = []
        self._release: Callable[[], None] | None = None  # takes back the containment of the loop
        self._starting: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stamp: tuple[int, ...] | None = None  # of the SQLite file, at the last look
        self._written = False  # since the look before

    # --- life ---------------------------------------------------------------------------------

    async def start(self) -> None:
        """Register the process, take up orphans, begin the duties. Further calls wait for the first.

        A start that failed, because the database was away, is tried again by the next call.
        """
        if self._starting is None or (self._starting.done() and not self.has_started):
            self._starting = asyncio.ensure_future(self._start())
        await asyncio.shield(self._starting)

    @property
    def has_started(self) -> bool:
        """Whether the start is complete, and nobody waits for an import any more."""
        start = self._starting
        return start is not None and start.done() and not start.exception()

    async def _start(self) -> None:
        self.id = await run_db(processes.register_process)
        self._loop = asyncio.get_running_loop()
        doorbell.set_loop(self._loop)
        if self._release is None:
            self._release = containment.install(self._loop)
        self._watchdog.start()
        self.draining = False
        await asyncio.gather(asyncio.to_thread(warming.warm_up), asyncio.to_thread(process.start))
        await warming.open_clients()
        self._duties = [
            _spawn(self.journal.run()),
            _spawn(self._beat()),
            _spawn(self._serve_requests()),
            _spawn(doorbell.relay()),
            *(_spawn(duty()) for duty in duties.while_serving),
        ]

    async def drain(self) -> None:
        """Take no new runs, and let the others finish for DRAIN_SECONDS; the rest is handed over."""
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
        """Let another process, or this one after its restart, begin the runs anew."""
        for _, abort in list(self._runs.values()):
            abort.want(HAND_OVER)

    async def stop(self) -> None:
        """End the duties and give the registration back."""
        doorbell.set_loop(None)
        await _cancel(self._duties)
        self._duties = []
        await catalog.close()
        self._watchdog.stop()
        if self._release is not None:
            self._release()
            self._release = None
        if self.id is not None:
            await self._try(self.sampler.take, self.id)
            await self._try(processes.unregister, self.id)
        self._starting = self._loop = self.id = None
        self.journal = Journal()

    # --- runs ---------------------------------------------------------------------------------

    def launch(self, run_id: uuid.UUID) -> None:
        """Execute a queued run in this process, unless another one is first."""
        if self.id is not None and not self.draining and run_id not in self._runs:
            self._keep(run_id, lambda abort: self._claim_and_execute(run_id, abort))

    def abort(self, run_id: uuid.UUID) -> None:
        """Stop a run, where this process executes it."""
        if run_id in self._runs:
            self._runs[run_id][1].want(STOP)

    async def announce_stop(self, run_id: uuid.UUID) -> None:
        """A stop was requested: end it here, and let the other processes look."""
        self.abort(run_id)
        await doorbell.ring([PENDING_REQUESTS, str(run_id)])

    def announce_stop_from_thread(self, run_id: uuid.UUID) -> None:
        """As ``announce_stop``, from a synchronous view; does not wait."""
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(self.announce_stop(run_id), self._loop)

    async def idle(self) -> None:
        """Wait until no run is executed here."""
        while self._runs:
            await asyncio.wait([task for task, _ in self._runs.values()])

    def _keep(self, run_id: uuid.UUID, work: Any) -> None:
        abort = Abort()
        task = _spawn(self._guarded(run_id, work(abort)))
        self._runs[run_id] = (task, abort)

    async def _guarded(self, run_id: uuid.UUID, work: Coroutine[Any, Any, None]) -> None:
        logs.executing(run_id)
        try:
            with metrics.active_runs.one_more():
                await work
        except (DatabaseError, InterfaceError):
            # Its row stays as it is; the sweep, here or elsewhere, takes it up.
            log.exception("Run %s lost its database", run_id)
        except Exception:
            log.exception("Run %s ended by an error of Parley", run_id)
        finally:
            self._runs.pop(run_id, None)

    async def _claim_and_execute(self, run_id: uuid.UUID, abort: Abort) -> None:
        assert self.id is not None
        claimed = await run_db(lifecycle.claim, run_id, self.id)
        if claimed:
            claim, run = claimed
            if run.stop_requested_at:
                abort.want(STOP)
            await execute_run(claim, run, self.journal, abort)

    async def _restart(self, claim: Claim, run: Run, abort: Abort) -> None:
        rows = await run_db(lifecycle.restart, claim)
        if rows is not None:
            show_rows(claim, rows)
            await execute_run(claim, run, self.journal, abort)

    async def _end_orphan(self, claim: Claim, run: Run, code: str) -> None:
        show_rows(claim, await end_orphan(claim, run, code=code))

    # --- duties -------------------------------------------------------------------------------

    async def _beat(self) -> None:
        """Renew, then sweep; never the other way round, or a slow process would take its own runs."""
        while True:
            await self._try(self._renew_and_sweep_once)
            await asyncio.sleep(settings.HEARTBEAT_SECONDS)

    async def _renew_and_sweep_once(self) -> None:
        assert self.id is not None
        if not await run_db(processes.renew, self.id):
            self.id = await run_db(processes.register_process)
        if not self.draining:
            await self.sweep()
        await self.sampler.take_if_due(self.id)

    async def sweep(self) -> None:
        """Take up what nobody executes: runs queued for too long, and runs of dead processes."""
        for run_id in await run_db(sweep.left_in_queue, everything=settings.ON_SQLITE):
            self.launch(run_id)
        for run_id, epoch in await run_db(sweep.orphans, self.id):
            if run_id not in self._runs:
                await self._adopt(run_id, epoch)

    async def _adopt(self, run_id: uuid.UUID, epoch: int) -> None:
        assert self.id is not None
        taken = await run_db(lifecycle.take_over, run_id, epoch, self.id)
        if taken is None:
            return
        claim, run = taken
        end_code = await run_db(sweep.end_code, run)
        if end_code is None:
            log.warning("Run %s is begun again: its process died", run_id)
            self._keep(run_id, lambda abort: self._restart(claim, run, abort))
        else:
            log.warning("Run %s is ended: its process died", run_id)
            self._keep(run_id, lambda _abort: self._end_orphan(claim, run, end_code))

    async def _serve_requests(self) -> None:
        async with doorbell.listen(PENDING_REQUESTS) as bell:
            while True:
                try:
                    async with asyncio.timeout(REQUEST_SECONDS):
                        await bell.wait()
                except TimeoutError:
                    pass  # nobody rang: look all the same
                if bell.is_set() or self._runs or self._somebody_wrote():
                    bell.clear()
                    await self._take_requests()

    def _somebody_wrote(self) -> bool:
        """Whether a look may find something that no bell tells of."""
        if settings.REDIS_URL:
            return False
        before, self._stamp = self._stamp, sqlite_stamp()
        lately, self._written = self._written, self._stamp is None or self._stamp != before
        return self._written or lately  # a second look: what was being committed is visible by now

    async def _take_requests(self) -> None:
        assert self.id is not None
        for run_id, status in await self._try(processes.pending_requests, self.id, list(self._runs)) or []:
            if status == Run.Status.QUEUED:
                self.launch(run_id)
            else:
                self.abort(run_id)

    async def _try(self, function: Any, *args: Any) -> Any:
        """Call on the database, or log that it is away; the next round tries again."""
        try:
            if asyncio.iscoroutinefunction(function):
                return await function(*args)
            return await run_db(function, *args)
        except (DatabaseError, InterfaceError) as error:
            log.warning("%s: the database did not answer: %s", function.__name__, error)
            return None


supervisor = Supervisor()


def _spawn(work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
    """A task that inherits nothing of the request that started it."""
    return asyncio.get_running_loop().create_task(work, context=contextvars.Context())


async def _cancel(duties: "Iterable[asyncio.Task[None]]") -> None:
    """Cancel them until they have ended: a library may lose a cancellation that comes as a wait ends."""
    left = set(duties)
    while left:
        for duty in left:
            duty.cancel()
        ended, left = await asyncio.wait(left, timeout=1)
        for duty in ended:
            if not duty.cancelled() and (error := duty.exception()):
                log.error("A duty had failed.", exc_info=error)
        for duty in left:
            log.warning("%s was told to end and goes on; it is told again.", duty.get_coro())
