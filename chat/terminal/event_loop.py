"""The event loop, on a thread of its own.

The main thread reads and writes the terminal, and may be held up there for as long as it likes: by
somebody who thinks, by Ctrl-S, by a pipe that nobody reads. Runs and heartbeats go on meanwhile.
"""

import asyncio
import queue
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import aclosing
from typing import Any, TypeVar

T = TypeVar("T")

SIGNAL_POLL_SECONDS = 0.1


class Engine:
    """``tick`` is called on the main thread, about ten times a second, while it waits."""

    def __init__(self, tick: Callable[[], None] = lambda: None) -> None:
        self.tick = tick
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="engine", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do ``work`` on the loop, and wait for its result. Raises what it raises."""
        return self._wait(asyncio.run_coroutine_threadsafe(work, self._loop))

    def begin(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do ``work`` on the loop without waiting, as a signal handler must."""
        asyncio.run_coroutine_threadsafe(work, self._loop)

    def each(self, items: AsyncGenerator[T, None]) -> Iterator[T]:
        """What ``items`` yields, as it comes. Raises what it raises."""
        basket: queue.SimpleQueue[T | None] = queue.SimpleQueue()
        pouring = asyncio.run_coroutine_threadsafe(_pour(items, basket.put), self._loop)
        pouring.add_done_callback(lambda _done: basket.put(None))
        try:
            while (item := self._next(basket)) is not None:
                yield item
            pouring.result()
        finally:
            pouring.cancel()  # it ends by itself where it is done

    def _next(self, basket: "queue.SimpleQueue[T | None]") -> T | None:
        while True:
            try:
                return basket.get(timeout=SIGNAL_POLL_SECONDS)
            except queue.Empty:
                self.tick()

    def _wait(self, future: "Future[T]") -> T:
        try:
            while True:
                try:
                    return future.result(SIGNAL_POLL_SECONDS)
                except TimeoutError:
                    if future.done():
                        raise
                    self.tick()
        except BaseException:
            future.cancel()  # nobody waits for it any more; where it is done, this does nothing
            raise

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _pour(items: AsyncGenerator[T, None], put: Callable[[T], None]) -> None:
    async with aclosing(items):
        async for item in items:
            put(item)
