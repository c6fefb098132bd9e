"""Counts of a call: seconds of sound, turns, and the time of the last sign of either side."""

import time

from chat.calls.keeping import HeldCall
from chat.calls.models import LiveCall
from chat.instruments import metrics

BYTES_A_SECOND_IN = 32_000  # PCM, signed 16 bits, mono, 16 kHz
BYTES_A_SECOND_OUT = 48_000  # the same at 24 kHz


class CallCounts:
    """Counts of one call since it was opened, in whichever process."""

    def __init__(self, row: LiveCall) -> None:
        self._epoch = row.epoch
        self._seconds_in, self._seconds_out, self._turns = row.seconds_in, row.seconds_out, row.turns
        self._last_sign = time.monotonic()

    def add_sound_in(self, size: int) -> None:
        # No sign of the member: an open microphone sends silence.
        self._seconds_in += size / BYTES_A_SECOND_IN
        metrics.call_seconds.add(size / BYTES_A_SECOND_IN, "in")

    def add_sound_out(self, size: int) -> None:
        self._seconds_out += size / BYTES_A_SECOND_OUT
        metrics.call_seconds.add(size / BYTES_A_SECOND_OUT, "out")
        self.add_sign()

    def add_frame(self, kind: str) -> None:
        """Count a frame to the member: ``run`` begins a turn."""
        self._turns += kind == "run"
        self.add_sign()

    def add_sign(self) -> None:
        """Record that one side has said something."""
        self._last_sign = time.monotonic()

    @property
    def idle_seconds(self) -> float:
        return time.monotonic() - self._last_sign

    @property
    def seconds(self) -> float:
        """Return the seconds of sound of both sides."""
        return self._seconds_in + self._seconds_out

    def held(self) -> HeldCall:
        return HeldCall(self._epoch, self._seconds_in, self._seconds_out, self._turns)
