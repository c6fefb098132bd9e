"""Size of the campaigns, which repeat one trial many times: ``CAMPAIGNS=full make test`` runs all of it."""

import os
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

IS_FULL = os.environ.get("CAMPAIGNS") == "full"


def trials(full: int, sample: int) -> int:
    """Return the number of trials of this run of the tests."""
    return full if IS_FULL else sample


def every_nth(items: Sequence[T], nth: int) -> Sequence[T]:
    """Return all items, or in a sample each ``nth`` one."""
    return items if IS_FULL else items[::nth]
