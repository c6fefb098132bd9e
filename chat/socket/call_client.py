"""Client of a call: sends the answer's audio and frames to one socket, whose reader may be slow."""

import asyncio
import json
from collections import deque
from typing import Any

from chat.calls.closing import CallEnd
from chat.instruments import metrics
from chat.socket.call_counts import CallCounts
from chat.socket.consumer import Send

# Unsent bytes of one socket, beside those that the server and the kernel buffer. Audio over it is dropped.
AUDIO_UNSENT_MAX = 512 * 1024
# Frames are never dropped. A socket that leaves so many characters of them unread is closed, and may resume.
TEXT_UNSENT_MAX = 512 * 1024
AUDIO_PIECE_BYTES = 16 * 1024  # of audio in one frame: a third of a second
UNANNOUNCED = {CallEnd.HUNG_UP, CallEnd.RESUMING}  # by an error frame
UNREAD = 1013  # the close code: try again later


class CallClient:
    """Sender to one socket. All methods but ``run`` return immediately."""

    def __init__(self, counts: CallCounts) -> None:
        self._counts = counts
        self._unsent: deque[str | bytes] = deque()
        self._audio_unsent = self._text_unsent = 0
        self._more = asyncio.Event()
        self._close_code: int | None = None
        self._resumes = False  # the client knows that the call goes on elsewhere

    def send_audio(self, pcm: bytes) -> None:
        """Send a piece of the answer, or drop what the socket has no room for."""
        self._counts.add_sound_out(len(pcm))
        for start in range(0, len(pcm), AUDIO_PIECE_BYTES):
            piece = pcm[start : start + AUDIO_PIECE_BYTES]
            if self._close_code is not None or self._audio_unsent + len(piece) > AUDIO_UNSENT_MAX:
                metrics.dropped_audio_bytes.add(len(piece))
            else:
                self._audio_unsent += len(piece)
                self._add(piece)

    def send(self, frame: dict[str, Any]) -> None:
        """Send a frame after all audio and frames before it."""
        self._counts.add_frame(frame["type"])
        if frame["type"] == "interrupted":
            self._drop_audio()
        self._resumes = self._resumes or frame["type"] == "resuming"
        self._send_frame(frame)

    def close(self, end: CallEnd, detail: str = "") -> None:
        """Close the socket after the frames that are unsent, of which the last one says why."""
        if self._close_code is not None:
            return
        self._drop_audio()
        if end is CallEnd.RESUMING and not self._resumes:  # its turn took longer than the drain
            self._send_frame({"type": "resuming"})
        elif end not in UNANNOUNCED:
            self._send_frame(error_frame(end, detail))
        self._close_with(end.code)

    async def run(self, send: Send) -> int:
        """Send until the socket is to be closed. Return the close code."""
        while True:
            while self._unsent:
                item = self._unsent.popleft()
                if isinstance(item, bytes):
                    self._audio_unsent -= len(item)
                    await send({"type": "websocket.send", "bytes": item})
                else:
                    self._text_unsent -= len(item)
                    await send({"type": "websocket.send", "text": item})
            if self._close_code is not None:
                return self._close_code
            self._more.clear()
            await self._more.wait()

    def _send_frame(self, frame: dict[str, Any]) -> None:
        text = json.dumps(frame, ensure_ascii=False)
        if self._close_code is not None:
            return
        if self._text_unsent + len(text) > TEXT_UNSENT_MAX:
            self._unsent.clear()
            self._close_with(UNREAD)
        else:
            self._text_unsent += len(text)
            self._add(text)

    def _close_with(self, code: int) -> None:
        if self._close_code is None:
            self._close_code = code
            self._more.set()

    def _add(self, item: str | bytes) -> None:
        self._unsent.append(item)
        self._more.set()

    def _drop_audio(self) -> None:
        """Drop the unsent audio of an answer that nobody hears any more."""
        self._unsent = deque(item for item in self._unsent if isinstance(item, str))
        self._audio_unsent = 0


def error_frame(end: CallEnd, detail: str = "") -> dict[str, Any]:
    """Return the frame that announces a close."""
    return {"type": "error", "code": end.label, "detail": detail or str(end.sentence)}
