"""Questions and answers of the benchmark, so that every reply can be checked exactly."""

from dataclasses import dataclass

SIZE = 24  # characters of a delta: a few words
FILLER = "and so it goes, word by word, until the reply has been told. " * 8


@dataclass(frozen=True, slots=True)
class Script:
    """A question and its answer. Model and check both derive the answer from the question.

    Questions with different keys have different answers.
    """

    key: str  # without spaces
    deltas: int
    pace_ms: int = 0  # between two deltas
    held: bool = False  # the model stops after the first delta until it gets POST /release
    size: int = SIZE  # characters of each delta

    @property
    def question(self) -> str:
        return f"{self.key} {self.deltas} {self.pace_ms} {int(self.held)} {self.size}"

    @classmethod
    def of(cls, question: str) -> "Script":
        key, deltas, pace_ms, held, size = question.split(" ")
        return cls(key, int(deltas), int(pace_ms), held == "1", int(size))

    def texts(self) -> list[str]:
        """Return the answer's deltas, of ``size`` characters each, no two of them equal."""
        return [f"{self.key} {n} {FILLER[n % 12 :]}"[: self.size - 1] + " " for n in range(self.deltas)]

    @property
    def answer(self) -> str:
        return "".join(self.texts())
