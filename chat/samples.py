"""Samples of each process's counters, stored once a minute: they outlive it, and are read together."""

import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from math import inf
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from chat.database import run_db
from chat.instruments import metrics
from chat.models import Sample

SAMPLE_SECONDS = 60
SAMPLES_KEPT = timedelta(hours=48)
BOUNDS = {each.name: each.bounds for each in metrics.HISTOGRAMS}


class Sampler:
    """Sampler of this process's counters. Counts that could not be stored are in the next sample."""

    def __init__(self) -> None:
        self._stored = _counters()
        self._due = time.monotonic() + SAMPLE_SECONDS

    async def take_if_due(self, process_id: uuid.UUID) -> None:
        """Take a sample once a minute. Raises the database's errors."""
        if time.monotonic() >= self._due:
            await self.take(process_id)

    async def take(self, process_id: uuid.UUID) -> None:
        """Store the difference to the last sample."""
        now = _counters()
        await run_db(_store, process_id, {"levels": _peaks(), **_difference(self._stored, now)})
        self._stored, self._due = now, time.monotonic() + SAMPLE_SECONDS
        for level in metrics.LEVELS:
            level.peak = level.value


def _peaks() -> dict[str, int]:
    """Return the highest value of each level since the last sample."""
    return {level.name: max(level.peak, level.now()) for level in metrics.LEVELS}


def _counters() -> dict[str, Any]:
    """Return all counters. Bounds are text: another version may have other ones."""
    return {
        "histograms": {
            each.name: {"sum": each.sum, **dict(zip(map(str, (*each.bounds, inf)), each.counts, strict=True))}
            for each in metrics.HISTOGRAMS
        },
        "refusals": {code: count for (code,), count in metrics.refusals.counts.items()},
        "stalls": {agent: count for (agent,), count in metrics.loop_stalls.counts.items()},
    }


def _difference(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """Return the growth of each number that has grown."""
    found: dict[str, Any] = {}
    for name, value in now.items():
        if isinstance(value, dict):
            found[name] = _difference(before.get(name, {}), value)
        elif value != before.get(name, 0):
            found[name] = value - before.get(name, 0)
    return found


@transaction.atomic
def _store(process_id: uuid.UUID, figures: dict[str, Any]) -> None:
    Sample.objects.create(process=process_id, figures=figures)
    Sample.objects.filter(at__lt=Now() - SAMPLES_KEPT).delete()


@dataclass(slots=True)
class Sum:
    """Sum of several samples, over time or over processes."""

    levels: Counter[str] = field(default_factory=Counter)
    histograms: dict[str, Counter[str]] = field(default_factory=dict)
    refusals: Counter[str] = field(default_factory=Counter)
    stalls: Counter[str] = field(default_factory=Counter)  # of the event loop, by agent
    _peaks: dict[uuid.UUID, Counter[str]] = field(default_factory=dict)

    def add(self, process_id: uuid.UUID, figures: dict[str, Any]) -> None:
        for name, counts in figures.get("histograms", {}).items():
            self.histograms.setdefault(name, Counter()).update(counts)
        self.refusals.update(figures.get("refusals", {}))
        self.stalls.update(figures.get("stalls", {}))
        # The maximum of each process, added up over the processes.
        self._peaks.setdefault(process_id, Counter())
        self._peaks[process_id] |= Counter(figures.get("levels", {}))
        self.levels = sum(self._peaks.values(), Counter())

    def count(self, name: str) -> int:
        return round(sum(n for bound, n in self.histograms.get(name, {}).items() if bound != "sum"))

    def mean(self, name: str) -> float | None:
        count = self.count(name)
        return self.histograms[name]["sum"] / count if count else None

    def quantile(self, name: str, share: float) -> float | None:
        """Return the value that ``share`` of the observations do not exceed; None without observations.

        It is interpolated linearly inside its bucket, as in Prometheus.
        """
        counts: Counter[str] = self.histograms.get(name, Counter())
        buckets = sorted((float(bound), n) for bound, n in counts.items() if bound != "sum")
        wanted, passed = share * self.count(name), 0.0
        for bound, n in buckets:
            if n and passed + n >= wanted:
                below = max((b for b in BOUNDS[name] if b < bound), default=0.0)
                return below if bound == inf else below + (bound - below) * (wanted - passed) / n
            passed += n
        return None
