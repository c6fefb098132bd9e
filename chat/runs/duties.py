"""Work that other layers have the supervisor do, so that the engine does not import them."""

from collections.abc import Callable, Coroutine
from typing import Any

Duty = Callable[[], Coroutine[Any, Any, None]]

while_serving: list[Duty] = []  # started with the supervisor, cancelled with it
when_drained: list[Callable[[], None]] = []  # called once no run is executed any more


def register(duty: Duty, *, on_drained: Callable[[], None]) -> None:
    """Run ``duty`` for as long as a process serves; call ``on_drained`` before it ends."""
    while_serving.append(duty)
    when_drained.append(on_drained)
