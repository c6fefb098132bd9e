"""The short path of sound between the socket of a Gemini model and a call, past google-genai and ADK.

Both build and check several objects for each piece: of a server's CPU time with 50 calls, more than a third
went there, and sound came late. Nothing but sound takes this path. All else, and sound in a message with
anything else, goes the ordinary way, and is overtaken by none.
"""

import asyncio
import base64
import binascii
import json
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from google.adk.models.gemini_llm_connection import GeminiLlmConnection
from google.adk.runners import Runner
from google.genai import types

OWN_PLUGINS = "parley_"  # beginning of the names of Parley's plugins

# Called with each piece of sound that takes the short path. Set for the tasks of a connection whose agents
# have no plugin that would look at it.
sound_came: ContextVar[Callable[[types.Blob], None] | None] = ContextVar("live_sound_came", default=None)


def may_be_short(runner: Runner) -> bool:
    """Return whether no plugin of an agent's author sees the events of the Runner."""
    return all(plugin.name.startswith(OWN_PLUGINS) for plugin in runner.app.plugins) if runner.app else False


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
        return [
            types.Blob.model_construct(mime_type=blob["mimeType"], data=_decoded(blob["data"]))
            for blob in blobs
        ]
    # google-genai says what is wrong with it.
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error):
        return None


def _decoded(data: str) -> bytes:
    # Of either alphabet, as google-genai takes it.
    return base64.b64decode(data.replace("-", "+").replace("_", "/"), validate=True)


async def send_sound(connection: GeminiLlmConnection, blob: types.Blob) -> None:
    """Send a piece of the microphone's sound, as the connection's ``send_realtime`` does."""
    sound = {"data": base64.urlsafe_b64encode(blob.data or b"").decode(), "mime_type": blob.mime_type}
    is_new = connection._is_gemini_3_x_live or connection._is_gemini_3_5_live_translate
    sent = {"audio": sound} if is_new else {"mediaChunks": [sound]}
    await connection._gemini_session._ws.send(json.dumps({"realtime_input": sent}))
