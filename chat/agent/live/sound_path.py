"""The short path of sound between the socket of a Gemini model and a call, past google-genai and ADK.

Both build and check several objects for each piece, and hand it from task to task: of a server's CPU time
with 50 calls, more than a third went there, and sound came late. Nothing but sound takes this path. All else,
and sound in a message with anything else, goes the ordinary way, and is overtaken by none.
"""

import asyncio
import binascii
import json
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from google.adk.models.gemini_llm_connection import GeminiLlmConnection
from google.adk.runners import Runner
from google.genai import types
from websockets.protocol import State

INPUT_MIME = "audio/pcm;rate=16000"
OWN_PLUGINS = "parley_"  # beginning of the names of Parley's plugins
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_STANDARD = str.maketrans("-_", "+/")


def may_be_short(runner: Runner) -> bool:
    """Return whether no plugin of an agent's author sees the events of the Runner."""
    return all(plugin.name.startswith(OWN_PLUGINS) for plugin in runner.app.plugins) if runner.app else False


class ShortPath:
    """The short path of one connection, whose socket may be opened several times.

    ``take`` is called with each piece of sound that the model sends, and may not wait.
    """

    def __init__(self, take: Callable[[types.Blob], None]) -> None:
        self.take = take
        self._socket: Any = None
        self._before = self._after = b""

    def open(self, connection: GeminiLlmConnection, take: Callable[[types.Blob], None]) -> None:
        """Use the socket of ``connection``, and give what it receives to ``take``."""
        session: Any = connection._gemini_session
        self._socket = session._ws
        session._ws = SoundSocket(session._ws, take)
        is_new = connection._is_gemini_3_x_live or connection._is_gemini_3_5_live_translate
        sound = {"data": "SOUND", "mime_type": INPUT_MIME}
        message = {"realtime_input": {"audio": sound} if is_new else {"mediaChunks": [sound]}}
        self._before, self._after = json.dumps(message).encode().split(b"SOUND")

    def send(self, pcm: bytes) -> bool:
        """Send what the microphone hears, as google-genai does; return False if the socket takes none now."""
        socket = self._socket
        if socket is None or socket.state is not State.OPEN or socket.paused:
            return False
        if socket.fragmented_send_waiter is not None:
            return False
        # What the socket's ``send`` does, too: that is a coroutine.
        data = binascii.b2a_base64(pcm, newline=False).translate(_URL_SAFE)
        socket.protocol.send_text(self._before + data + self._after)
        socket.send_data()
        return True


# Of the connection in whose tasks this runs, if its agents have no plugin that would look at the sound.
current_short_path: ContextVar[ShortPath | None] = ContextVar("live_short_path", default=None)


class SoundSocket:
    """google-genai's WebSocket of a live session, which gives pieces of sound to ``on_sound``."""

    def __init__(self, socket: Any, on_sound: Callable[[types.Blob], None]) -> None:
        self._socket, self._on_sound = socket, on_sound
        self._is_behind = False  # a message of another kind is on its way through ADK

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    async def recv(self, *args: Any, **kwargs: Any) -> Any:
        """Return the next message that is no sound."""
        while True:
            raw = await self._socket.recv(*args, **kwargs)
            blobs = sounds_in(raw)
            if blobs is None:
                self._is_behind = True
                return raw
            if self._is_behind:
                # ADK asks for the next message once it has handed the last one to its other task, which
                # passes it on when it runs next.
                self._is_behind = False
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            for blob in blobs:
                self._on_sound(blob)


def sounds_in(raw: bytes | str) -> list[types.Blob] | None:
    """Return the pieces of sound in a message of the model, or None if it has anything else."""
    if isinstance(raw, str) or b'"inlineData"' not in raw:
        return None
    try:
        content = json.loads(raw)
        turn = content["serverContent"]["modelTurn"]
        if content.keys() != {"serverContent"} or content["serverContent"].keys() != {"modelTurn"}:
            return None
        blobs = [part["inlineData"] for part in turn["parts"] if part.keys() == {"inlineData"}]
        if len(blobs) < len(turn["parts"]) or turn.keys() - {"parts", "role"}:
            return None
        if not all(blob["mimeType"].startswith("audio/") for blob in blobs):
            return None
        return [types.Blob(mime_type=blob["mimeType"], data=_decoded(blob["data"])) for blob in blobs]
    # google-genai says what is wrong with it.
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error):
        return None


def _decoded(data: str) -> bytes:
    if "-" in data or "_" in data:  # of either alphabet, as google-genai takes it
        data = data.translate(_STANDARD)
    return binascii.a2b_base64(data, strict_mode=True)
