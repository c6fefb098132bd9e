"""Parser of the event streams of docs/streaming.md."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SseEvent:
    """One event; ``name`` is empty for text and ``[DONE]``."""

    id: str
    name: str
    data: str

    @property
    def run(self) -> str:
        return self.id.rpartition(":")[0]

    @property
    def seq(self) -> int:
        return int(self.id.rpartition(":")[2])

    @property
    def is_done(self) -> bool:
        return self.data == "[DONE]"

    @property
    def is_text(self) -> bool:
        return not self.name and not self.is_done

    def json(self) -> Any:
        return json.loads(self.data)


# An event's name, where "text" stands for unnamed text, or a condition on the events read so far.
Wanted = str | Callable[[list[SseEvent]], object]


def is_last(wanted: Wanted, seen: list[SseEvent]) -> bool:
    """Return whether the last of the events read so far is the wanted one."""
    if callable(wanted):
        return bool(wanted(seen))
    return seen[-1].is_text if wanted == "text" else seen[-1].name == wanted


class SseParser:
    """Incremental parser: ``feed`` takes bytes and returns the events that they complete."""

    def __init__(self) -> None:
        self.comments: list[str] = []
        self.retry: str | None = None
        self._rest = b""
        self._fields: dict[str, str] = {}

    def feed(self, data: bytes) -> list[SseEvent]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        found = []
        for raw in lines:
            line = raw.decode()
            if not line:
                if "data" in self._fields:
                    fields = self._fields
                    found.append(SseEvent(fields.get("id", ""), fields.get("event", ""), fields["data"]))
                self._fields = {}
            elif line.startswith(":"):
                self.comments.append(line)
            else:
                name, _, value = line.partition(": ")
                if name == "retry":
                    self.retry = value
                else:
                    self._fields[name] = value
        return found


def parse(data: bytes) -> list[SseEvent]:
    return SseParser().feed(data)


def text_of(events: list[SseEvent]) -> str:
    """Return the reply: the unnamed texts joined, starting with the last ``replace``."""
    text = ""
    for event in events:
        if event.name == "replace":
            text = event.json()["text"]
        elif event.is_text:
            text += event.json()["text"]
    return text


def terminal_of(events: list[SseEvent]) -> SseEvent:
    ends = {"run.completed", "run.stopped", "run.failed", "run.expired"}
    found = [event for event in events if event.name in ends]
    assert len(found) == 1, [event.name for event in events]
    return found[0]
