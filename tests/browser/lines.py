"""The server's side of a call, in place of the real one: a test sends frames and reads those of the page."""

import json
import math
import re
import struct
import time
from typing import Any

from playwright.sync_api import Page, WebSocketRoute

CALL = "11111111-2222-4333-8444-555555555555"


def tone(seconds: float) -> bytes:
    """Return a tone of 440 Hz as the server sends sound: PCM, 16 bits, mono, 24 kHz."""
    samples = range(int(24_000 * seconds))
    return b"".join(struct.pack("<h", int(9000 * math.sin(math.tau * 440 * n / 24_000))) for n in samples)


class Line:
    """Sockets of calls that a page opens, one after another."""

    def __init__(self, page: Page, seconds: int = 1800) -> None:
        self.page = page
        self.seconds = seconds  # that the call may take
        self.sockets: list[WebSocketRoute] = []
        self.received: list[dict[str, Any] | bytes] = []
        self.closed: list[int | None] = []  # codes with which the page has closed
        page.route_web_socket(re.compile("/ws/live/"), self._answer)

    def send(self, **frame: Any) -> None:
        self.sockets[-1].send(json.dumps(frame))

    def say(self, seconds: float) -> None:
        pcm = tone(seconds)
        for start in range(0, len(pcm), 9600):
            self.sockets[-1].send(pcm[start : start + 9600])

    def close(self, code: int, detail: str = "") -> None:
        if detail:
            self.send(type="error", code="test", detail=detail)
        self.sockets[-1].close(code=code)

    @property
    def frames(self) -> list[dict[str, Any]]:
        return [each for each in self.received if isinstance(each, dict)]

    @property
    def types(self) -> list[str]:
        """Types of what was received, in order; "audio" for sound, once for frames that follow each other."""
        types = [each["type"] if isinstance(each, dict) else "audio" for each in self.received]
        return [each for n, each in enumerate(types) if n == 0 or each != types[n - 1]]

    @property
    def audio(self) -> bytes:
        return b"".join(each for each in self.received if isinstance(each, bytes))

    @property
    def played(self) -> int:
        """Milliseconds of the answer, as last reported."""
        return int(([0] + [each["ms"] for each in self.frames if each["type"] == "played"])[-1])

    def wait_for(self, condition: Any, seconds: float = 15) -> None:
        """Wait until the condition holds, while the page goes on."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.types
            self.page.wait_for_timeout(20)

    def _answer(self, socket: WebSocketRoute) -> None:
        self.sockets.append(socket)
        socket.on_message(self._take)
        socket.on_close(lambda code, _reason: self.closed.append(code))
        socket.send(json.dumps({"type": "ready", "call": CALL, "rate": 24_000, "seconds": self.seconds}))

    def _take(self, message: str | bytes) -> None:
        self.received.append(message if isinstance(message, bytes) else json.loads(message))
