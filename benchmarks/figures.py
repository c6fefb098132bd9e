"""Figures of one target in one round, and the file that keeps those of a whole run."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.plan import Plan


@dataclass(slots=True)
class Traffic:
    """Figures of streams that were asked at the same time."""

    streams: int
    cpu_us: float  # of the process, for each delta of the model
    shown: float  # events with text that a client received, for each delta of the model
    load_share: float  # of a core, used by model and load together
    first_ms: list[float]
    delay_ms: list[float]  # of each delta, from the model's write to the client
    wrong: int = 0


@dataclass(slots=True)
class Figures:
    """Results of one target in one round. A figure is None, or its list empty, if it was not measured."""

    name: str
    round: int
    traffic: dict[str, Traffic] = field(default_factory=dict)  # by the name of the step
    stream_kib: float | None = None
    idle_kib: float | None = None
    alone_ms: list[float] = field(default_factory=list)
    short_ms: float | None = None  # CPU time of one short turn
    turn_ms: dict[int, float] = field(default_factory=dict)  # CPU time of one turn, by its number
    request_ms: dict[str, float] = field(default_factory=dict)  # CPU time of one request
    asked: int = 0
    wrong: list[str] = field(default_factory=list)  # replies shown or stored other than the model sent them


@dataclass(slots=True)
class Results:
    """Figures of the complete rounds, and the targets that failed, each with the reason."""

    rounds: list[Figures] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def save(results: Results, plan: Plan, conditions: Sequence[str], file: Path) -> None:
    """Write all figures as JSON, times to a hundredth of their unit."""
    value = {"conditions": list(conditions), "plan": asdict(plan), **_rounded(asdict(results))}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value) + "\n")


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return round(value, 2) if isinstance(value, float) else value
