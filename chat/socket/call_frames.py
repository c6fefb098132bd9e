"""Frames of a call's socket: what the page may send, and how fast."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from chat.calls.closing import CallEnd, CallRefused
from chat.refusals import Refusal
from chat.text import check_text, message_text

AUDIO_FRAME_MAX = 64 * 1024  # bytes
AUDIO_SECOND_MAX = 64 * 1024  # bytes a second. 16 kHz are 32,000; 44.1 and 48 kHz are over the limit
FRAMES_SECOND_MAX = 100  # a page sends 50 of audio, and a few of text
TYPED_MINUTE_MAX = 60  # messages
WINDOW_SECONDS = 2.0  # over which the first two are averaged: a page may send what it could not send before

# The fields of each frame of text, and their types.
FRAME_FIELDS: dict[str, dict[str, tuple[type, ...]]] = {
    "text": {"text": (str,)},
    "start": {},
    "end": {},
    "mute": {},
    "played": {"ms": (int, float)},
    "stop": {},
}
PLAYED_MAX = 24 * 60 * 60 * 1000  # milliseconds

# Beginnings of audio in a container, which is not PCM: WAV, Ogg, WebM, MP3, FLAC.
AUDIO_CONTAINERS = (b"RIFF", b"OggS", b"\x1aE\xdf\xa3", b"ID3", b"fLaC")


@dataclass(slots=True)
class Window:
    """Limit of an amount in a time: ``most`` in each ``seconds``, counted in two halves."""

    most: float
    seconds: float
    now: Callable[[], float] = time.monotonic
    _began: float = 0.0
    _amount: float = 0.0
    _before: float = 0.0

    def add(self, amount: float) -> None:
        """Count an amount. Raises CallRefused if it is too much."""
        half, now = self.seconds / 2, self.now()
        if now - self._began >= half:
            is_next = now - self._began < 2 * half
            self._before, self._amount, self._began = self._amount if is_next else 0.0, 0.0, now
        self._amount += amount
        if self._before + self._amount > self.most:
            raise CallRefused(CallEnd.TOO_MUCH)


@dataclass(slots=True)
class FrameChecks:
    """Checks of the frames that one socket sends."""

    _bytes: Window = field(default_factory=lambda: Window(AUDIO_SECOND_MAX * WINDOW_SECONDS, WINDOW_SECONDS))
    _frames: Window = field(
        default_factory=lambda: Window(FRAMES_SECOND_MAX * WINDOW_SECONDS, WINDOW_SECONDS)
    )
    _typed: Window = field(default_factory=lambda: Window(TYPED_MINUTE_MAX, 60))

    def check_audio(self, pcm: bytes) -> bytes:
        """Return the audio. Raises CallRefused if it is none, or too much."""
        self._frames.add(1)
        if len(pcm) > AUDIO_FRAME_MAX:
            raise CallRefused(CallEnd.TOO_MUCH)
        if not pcm or len(pcm) % 2 or pcm.startswith(AUDIO_CONTAINERS) or _is_json(pcm):
            raise CallRefused(CallEnd.MALFORMED)
        self._bytes.add(len(pcm))
        return pcm

    def check_text(self, text: str) -> dict[str, Any]:
        """Return the frame: a known one, with exactly its fields. Raises CallRefused."""
        self._frames.add(1)
        try:
            frame = json.loads(text)
            check_text(frame)
        except (ValueError, RecursionError, Refusal) as error:
            raise CallRefused(CallEnd.MALFORMED) from error
        kind = frame.get("type") if isinstance(frame, dict) else None
        fields = FRAME_FIELDS.get(kind) if isinstance(kind, str) else None
        if fields is None or frame.keys() != {"type", *fields}:
            raise CallRefused(CallEnd.MALFORMED)
        if any(type(frame[name]) not in kinds for name, kinds in fields.items()):
            raise CallRefused(CallEnd.MALFORMED)
        if kind == "played" and not 0 <= frame["ms"] <= PLAYED_MAX:
            raise CallRefused(CallEnd.MALFORMED)
        if kind == "text":
            self._check_typed(frame["text"])
        return dict(frame)

    def _check_typed(self, text: str) -> None:
        self._typed.add(1)
        try:
            message_text(text)
        except Refusal as refusal:
            raise CallRefused(CallEnd.MALFORMED, refusal.detail) from refusal


def _is_json(pcm: bytes) -> bool:
    # The first bytes alone can be samples.
    if not (pcm.startswith((b"{", b"[")) and pcm.rstrip().endswith((b"}", b"]"))):
        return False
    try:
        json.loads(pcm)
    except (ValueError, RecursionError):
        return False
    return True
