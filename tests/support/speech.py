"""Speech-to-text, text-to-speech and a text model for CascadeLive, without a network.

``LIVE_STT=tests.support.speech.Ears`` understands the audio of ``gemini_live.speech``, and
``LIVE_TTS=tests.support.speech.Mouth`` makes 100 ms of sound for each word.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, ClassVar

from google.adk.live import (
    AgentSpokenOutput,
    AudioChunk,
    LiveEgress,
    LiveIngress,
    PartialTranscript,
    UserSpeechStarted,
    UserTurnFinished,
)
from google.adk.models import BaseLlm, LlmRequest, LlmResponse
from google.genai import types

from tests.support.gemini_live import SPEECH_END, is_loud, words_in

WORD_MILLISECONDS = 100


class Ears(LiveIngress):
    """Hears the words in audio of ``speech``; loud audio without words is "Something."."""

    failure: ClassVar[Exception | None] = None  # raised by the next audio

    async def __call__(self, audio: AsyncIterator[types.Blob]) -> AsyncGenerator[Any, None]:
        heard = b""
        async for blob in audio:
            pcm = blob.data or b""
            if Ears.failure:
                failure, Ears.failure = Ears.failure, None
                raise failure
            if not is_loud(pcm):
                continue
            if not heard:
                yield UserSpeechStarted()
            heard += pcm
            words = words_in(heard)
            yield PartialTranscript(text=words or "Some")
            if SPEECH_END in pcm:
                yield UserTurnFinished(text=words or "")
                heard = b""
        if heard:
            yield UserTurnFinished(text=words_in(heard) or "Something.")


class Mouth(LiveEgress):
    """Says each word in 100 ms of sound, which comes before its caption."""

    failure: ClassVar[Exception | None] = None  # raised by the next text
    seconds_a_word: ClassVar[float] = 0.0  # that it takes to make the sound of a word

    async def __call__(self, text: AsyncIterator[str], *, cancel: asyncio.Event) -> AsyncGenerator[Any, None]:
        async for piece in text:
            if Mouth.failure:
                failure, Mouth.failure = Mouth.failure, None
                raise failure
            for word in re.findall(r"\s*\S+\s*$|\s*\S+", piece) or [piece]:
                if cancel.is_set():
                    return
                await asyncio.sleep(Mouth.seconds_a_word)
                pcm = b"\x10\x10" * (WORD_MILLISECONDS * 24)
                yield AudioChunk(blob=types.Blob(data=pcm, mime_type="audio/pcm;rate=24000"))
                yield AgentSpokenOutput(text=word)


class ScriptedModel(BaseLlm):
    """A text model: ``answers`` by question are lists of parts. ``requests`` are the contents it was given.

    A question without answers is repeated.
    """

    model: str = "scripted"
    answers: ClassVar[dict[str, list[list[types.Part]]]] = {}
    requests: ClassVar[list[list[types.Content]]] = []

    async def generate_content_async(
        self, llm_request: LlmRequest, stream: bool = False
    ) -> AsyncGenerator[LlmResponse, None]:
        contents = list(llm_request.contents)
        ScriptedModel.requests.append(contents)
        said = [
            "".join(part.text or "" for part in content.parts or [])
            for content in contents
            if content.role == "user"
        ]
        question = next((text for text in reversed(said) if text), "")
        script = ScriptedModel.answers.get(question, [])
        parts = script.pop(0) if script else [types.Part(text=f"You said: {question}")]
        for part in parts:
            if stream and part.text:
                yield LlmResponse(content=types.Content(role="model", parts=[part]), partial=True)
        yield LlmResponse(
            content=types.Content(role="model", parts=parts),
            partial=False,
            usage_metadata=types.GenerateContentResponseUsageMetadata(
                prompt_token_count=10, candidates_token_count=5, total_token_count=15
            ),
        )
