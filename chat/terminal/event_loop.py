"""The event loop of the command, on a thread of its own."""

import asyncio
import queue
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from concurrent.futures import wait
from contextlib import aclosing
from typing import Any, TypeVar

_T = TypeVar("_T")

ON_WAIT_SECONDS = 0.1


class EventLoopThread:
    """A running event loop, for a main thread that reads and writes the terminal.

    Runs and heartbeats go on while the main thread is blocked by the prompt, Ctrl-S or a full pipe.
    ``on_wait`` is called on the main thread, every ON_WAIT_SECONDS, while it waits for the loop.
    """

    def __init__(self, on_wait: Callable[[], None]) -> None:
        self._on_wait = on_wait
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="event-loop", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run ``work`` on the loop and return its result. Raise what it raises."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            while wait([future], ON_WAIT_SECONDS).not_done:
                self._on_wait()
            return future.result()
        finally:
            future.cancel()  # where a signal handler raised; no effect on a future that is done

    def start(self, work: Coroutine[Any, Any, Any]) -> None:
        """Start ``work`` on the loop without waiting, as a signal handler must."""
        asyncio.run_coroutine_threadsafe(work, self._loop)

    def iterate(self, items: AsyncGenerator[_T, None]) -> Iterator[_T]:
        """Iterate over ``items`` on the loop and yield each one as it comes. Raise what it raises."""
        received: queue.SimpleQueue[_T | None] = queue.SimpleQueue()
        producer = asyncio.run_coroutine_threadsafe(_put_all(items, received.put), self._loop)
        producer.add_done_callback(lambda _done: received.put(None))
        try:
            while (item := self._next(received)) is not None:
                yield item
            producer.result()
        finally:
            producer.cancel()  # no effect once it is done

    def _next(self, received: "queue.SimpleQueue[_T | None]") -> _T | None:
        while True:
            try:
                return received.get(timeout=ON_WAIT_SECONDS)
            except queue.Empty:
                self._on_wait()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _put_all(items: AsyncGenerator[_T, None], put: Callable[[_T], None]) -> None:
    async with aclosing(items):
        async for item in items:
            put(item)
