"""Amounts of a round."""

from dataclasses import dataclass, replace

from benchmarks.script import SIZE

BURST = "burst"


@dataclass(frozen=True, slots=True)
class Shape:
    """Shape of the model's traffic."""

    name: str
    size: int  # characters of a delta
    pace_ms: int  # between two deltas
    deltas: int

    def with_deltas(self, deltas: int) -> "Shape":
        return replace(self, deltas=deltas)


SMALL = Shape("small", SIZE, 50, 100)
GEMINI = Shape("gemini", 300, 150, 34)  # takes as long as SMALL


@dataclass(frozen=True, slots=True)
class Plan:
    """Amounts of a round of each target. With 0, a step is left out."""

    rounds: int = 3
    streams: int = 50
    small: Shape = SMALL
    gemini: Shape = GEMINI
    alone: int = 100  # short turns, one after another
    few: tuple[int, ...] = (1, 10)  # numbers of streams whose delays are measured besides
    burst: int = 200  # questions asked at the same time
    turns: tuple[int, ...] = (10, 180)  # whose CPU time is reported
    readers: int = 200  # idle streams of Parley
    requests: int = 100  # of each kind, to Parley
    warm_up: int = 5

    @property
    def shapes(self) -> tuple[Shape, Shape]:
        return self.small, self.gemini

    @property
    def delay_steps(self) -> dict[int, str]:
        """Return the steps whose delays are compared, by their number of streams."""
        few = {streams: f"{self.small.name} at {streams}" for streams in self.few if streams < self.streams}
        burst = {self.burst: BURST} if self.burst else {}
        return {**few, self.streams: self.small.name, **burst}

    @property
    def members(self) -> int:
        return max(self.streams, self.burst)

    def with_deltas(self, deltas: int) -> "Plan":
        """Return the plan with another length of the replies, which keeps their duration equal."""
        fewer = max(1, round(deltas * self.small.pace_ms / self.gemini.pace_ms))
        return replace(self, small=self.small.with_deltas(deltas), gemini=self.gemini.with_deltas(fewer))


FULL = Plan()
QUICK = replace(
    FULL.with_deltas(60),
    rounds=1,
    streams=20,
    alone=30,
    few=(1,),
    burst=60,
    turns=(10, 40),
    readers=50,
    requests=40,
)
