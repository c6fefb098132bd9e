"""Ears and a voice without a key or a network, for a first try: they hear loudness and speak in tones."""

import array
import asyncio
import itertools
import math
import re
from collections.abc import AsyncGenerator, AsyncIterator
from functools import cache
from typing import Any

from google.adk.live import (
    AgentSpokenOutput,
    AudioChunk,
    LiveEgress,
    LiveIngress,
    PartialTranscript,
    UserSpeechStarted,
    UserTurnFinished,
)
from google.genai import types

from chat.agent.live.sound import VOICE_RATE

SCRIPT = (
    "Hello, who are you?",
    "What time is it in Lagos?",
    "What is 12 * 34?",
    "Tell me something about this page.",
)
LOUD = 500  # mean amplitude from which it is speech
INPUT_BYTES = 32  # a millisecond at 16 kHz
BEGIN_MS, END_MS = 100, 700  # of speech until it counts, and of silence until the member has spoken
UTTERANCE_MS = 30_000  # then it ends, whatever is heard
WORD_PATTERN = re.compile(r"\s*\S+\s*$|\s*\S+")
TONE_MS, PAUSE_MS = 160, 40
PITCHES = (262, 294, 330, 392, 440)  # Hz
VOLUME = 0.12


class DemoEars(LiveIngress):
    """Hears when somebody speaks, and takes a sentence of SCRIPT for it: the next one each time."""

    def __init__(self) -> None:
        self._sentences = itertools.cycle(SCRIPT)

    async def __call__(self, audio: AsyncIterator[types.Blob]) -> AsyncGenerator[Any, None]:
        words: list[str] = []  # of the sentence; none before speech
        loud = silent = 0.0  # milliseconds
        async for blob in audio:
            data = blob.data or b""
            length = len(data) / INPUT_BYTES
            if _is_loud(data):
                loud, silent = loud + length, 0.0
            else:
                silent += length
                if not words:
                    loud = 0.0
            if not words and loud >= BEGIN_MS:
                words = next(self._sentences).split(" ")
                yield UserSpeechStarted()
                yield PartialTranscript(text=words[0])
            elif words and (silent >= END_MS or loud >= UTTERANCE_MS):
                yield UserTurnFinished(text=" ".join(words))
                words, loud, silent = [], 0.0, 0.0
        if words:
            yield UserTurnFinished(text=" ".join(words))


def _is_loud(data: bytes) -> bool:
    samples = array.array("h", data[: len(data) // 2 * 2])
    return bool(samples) and sum(map(abs, samples)) >= LOUD * len(samples)


class DemoVoice(LiveEgress):
    """Says each word as a soft tone."""

    async def __call__(self, text: AsyncIterator[str], *, cancel: asyncio.Event) -> AsyncGenerator[Any, None]:
        rest = ""  # a word may come in two pieces
        async for piece in text:
            rest += piece
            words = WORD_PATTERN.findall(rest)
            if words:
                rest = "" if words[-1][-1].isspace() else words.pop()
            for word in words:
                if cancel.is_set():
                    return
                for event in _spoken(word):
                    yield event
                await asyncio.sleep(0)  # so that other calls go on
        if rest and not cancel.is_set():
            for event in _spoken(rest):
                yield event


def _spoken(word: str) -> list[Any]:
    pitch = PITCHES[sum(map(ord, word)) % len(PITCHES)]
    blob = types.Blob(data=tone(pitch), mime_type=f"audio/pcm;rate={VOICE_RATE}")
    return [AudioChunk(blob=blob), AgentSpokenOutput(text=word)]


@cache
def tone(pitch: int) -> bytes:
    """Return a tone that swells and fades, and a pause."""
    length = VOICE_RATE * TONE_MS // 1000
    swell = (math.sin(math.pi * n / length) for n in range(length))
    wave = (math.sin(2 * math.pi * pitch * n / VOICE_RATE) for n in range(length))
    samples = array.array("h", (round(32767 * VOLUME * a * b) for a, b in zip(swell, wave, strict=True)))
    return samples.tobytes() + bytes(2 * VOICE_RATE * PAUSE_MS // 1000)
