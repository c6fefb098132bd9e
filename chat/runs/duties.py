"""Background tasks that other layers register with the supervisor, which must not import them."""

from collections.abc import Callable, Coroutine
from typing import Any

Duty = Callable[[], Coroutine[Any, Any, None]]

while_serving: list[Duty] = []  # started with the supervisor, cancelled with it
when_drained: list[Callable[[], None]] = []  # called when this process executes no more runs


def add_duty(duty: Duty, *, on_drained: Callable[[], None]) -> None:
    """Run ``duty`` while a process serves; call ``on_drained`` once its runs have drained."""
    while_serving.append(duty)
    when_drained.append(on_drained)
