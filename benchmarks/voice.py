"""Fake model that speaks and writes, in its own process: ``python -m benchmarks.voice``.

It writes the environment in which a server finds it, as JSON. Whatever is typed in a call is answered with
ANSWER_SECONDS of sound in real time, and a caption each CAPTION_SECONDS. Each piece of sound begins with the
time at which it was sent, by the monotonic clock, which all processes of a machine share.
"""

import base64
import json
import struct
import sys
import time
from collections.abc import Sequence
from typing import Any

from tests.support.gemini import Pause, Text
from tests.support.gemini_live import GeminiLive, GenerationComplete, Message, Spoken, TurnComplete

PIECE_SECONDS = 0.04
PIECE_BYTES = int(48_000 * PIECE_SECONDS)
ANSWER_SECONDS = 8.0
CAPTION_SECONDS = 0.4
STAMP = struct.Struct("<4sd")
MARK = b"sent"

WRITTEN_WORDS = 100
WRITTEN_PAUSE = 0.02


class StampedSound(Message):
    """Piece of sound that says when it was sent."""

    def __init__(self) -> None:
        pass  # the value is made when it is sent

    @property
    def value(self) -> dict[str, Any]:
        pcm = STAMP.pack(MARK, time.monotonic()).ljust(PIECE_BYTES, b"\0")
        blob = {"mimeType": "audio/pcm;rate=24000", "data": base64.b64encode(pcm).decode()}
        return {"serverContent": {"modelTurn": {"parts": [{"inlineData": blob}]}}}


def sent_at(pcm: bytes) -> float | None:
    """Return when this piece of sound was sent; None if its beginning is not here."""
    mark, at = STAMP.unpack_from(pcm) if len(pcm) >= STAMP.size else (b"", 0.0)
    return at if mark == MARK else None


class Speaker(GeminiLive):
    def next_steps(self, question: str) -> Sequence[Any]:
        steps: list[Any] = []
        pieces = int(ANSWER_SECONDS / PIECE_SECONDS)
        for number in range(pieces):
            if number % int(CAPTION_SECONDS / PIECE_SECONDS) == 0:
                steps.append(Spoken("some more words "))
            steps += [StampedSound(), Pause(PIECE_SECONDS)]
        return [*steps, GenerationComplete(), TurnComplete()]


def main() -> None:
    speaker = Speaker()
    written = [step for n in range(WRITTEN_WORDS) for step in (Text(f"word{n} "), Pause(WRITTEN_PAUSE))]
    speaker.on("write", written)
    sys.stdout.write(json.dumps(speaker.environment) + "\n")
    sys.stdout.flush()
    sys.stdin.read()  # until the benchmark closes it
    speaker.close()


if __name__ == "__main__":
    main()
