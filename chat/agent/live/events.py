"""Events of a connection to a model that speaks, as plain values."""

from dataclasses import dataclass, field

from chat.events import Event


@dataclass(frozen=True, slots=True)
class Audio:
    """Piece of the answer's sound: PCM, signed 16 bits, little-endian, mono, 24 kHz."""

    pcm: bytes


@dataclass(frozen=True, slots=True)
class Heard:
    """The member's words so far: the whole transcript of the utterance, which may still change."""

    text: str
    final: bool


@dataclass(frozen=True, slots=True)
class Shown:
    """Events of the reply to journal in this order: captions, thoughts, tool calls and results, files."""

    events: list[Event]


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The model has stopped, because the member speaks or has asked for it."""


@dataclass(frozen=True, slots=True)
class TurnComplete:
    """The model has said all of its answer."""


@dataclass(frozen=True, slots=True)
class Handle:
    """The value with which the provider resumes this session on another connection. It is a secret."""

    value: str = field(repr=False)


LiveEvent = Audio | Heard | Shown | Interrupted | TurnComplete | Handle
