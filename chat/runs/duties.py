"""Registry of background tasks of other layers, so that chat.runs does not import those layers."""

from collections.abc import Callable, Coroutine
from typing import Any

Duty = Callable[[], Coroutine[Any, Any, None]]

while_serving: list[Duty] = []  # started with the supervisor, cancelled with it
when_drained: list[Callable[[], None]] = []  # called when no run is left, or 10 s after the hand-over


def add_duty(duty: Duty, *, on_drained: Callable[[], None]) -> None:
    """Run ``duty`` while a process serves; call ``on_drained`` once its runs have drained."""
    while_serving.append(duty)
    when_drained.append(on_drained)
