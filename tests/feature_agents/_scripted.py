"""Models that need no network: one plays a script, one repeats the request that it receives."""

import asyncio
import io
import json
import wave
from collections.abc import AsyncGenerator
from typing import Any

from google.adk.agents import Agent
from google.adk.models import BaseLlm, LlmRequest, LlmResponse
from google.genai import types
from PIL import Image

Part = types.Part


def picture(kind: str) -> bytes:
    """Return a small picture, for example a "PNG"."""
    file = io.BytesIO()
    Image.new("RGB", (4, 4), "teal").save(file, kind)
    return file.getvalue()


def sound() -> bytes:
    """Return a short sound as WAV."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, 16_000, 0, "NONE", ""))
        writer.writeframes(bytes(3_200))
    return file.getvalue()


def call(name: str, /, **args: Any) -> Part:
    return Part(function_call=types.FunctionCall(name=name, args=args))


def response(*parts: Part | str, **fields: Any) -> LlmResponse:
    """Return a whole response of a model."""
    contents = [Part(text=each) if isinstance(each, str) else each for each in parts]
    content = types.Content(role="model", parts=contents) if contents else None
    return LlmResponse(**{"content": content, "partial": False} | fields)


class Scripted(BaseLlm):
    """Model whose n-th turn of the script answers its n-th call in a conversation; the last one repeats.

    A turn is a text, a list of parts, a response, a list of responses, or an exception, which is raised.
    """

    model: str = "scripted"
    script: list[Any]

    async def generate_content_async(
        self, llm_request: LlmRequest, stream: bool = False
    ) -> AsyncGenerator[LlmResponse, None]:
        calls = sum(content.role == "model" for content in llm_request.contents)
        turn = self.script[min(calls, len(self.script) - 1)]
        if isinstance(turn, BaseException):
            raise turn
        if isinstance(turn, LlmResponse):
            yield turn
            return
        parts: list[Any] = [Part(text=turn)] if isinstance(turn, str) else turn
        if parts and isinstance(parts[0], LlmResponse):
            for each in parts:
                yield each
            return
        for fragment in _fragments(parts) if stream else []:
            yield response(fragment, partial=True)
            await asyncio.sleep(0)
        yield response(*parts, usage_metadata=USAGE)


class Mirror(BaseLlm):
    """Model that answers with its request, so that two servers can be compared in what they send a model."""

    model: str = "mirror"

    async def generate_content_async(
        self, llm_request: LlmRequest, stream: bool = False
    ) -> AsyncGenerator[LlmResponse, None]:
        config = llm_request.config
        received = {
            "system": str(config.system_instruction or ""),
            "tools": sorted(llm_request.tools_dict),
            "contents": [
                f"{content.role}: {' '.join(part.text or '(no text)' for part in content.parts or [])}"
                for content in llm_request.contents
            ],
        }
        yield response(json.dumps(received, ensure_ascii=False))


USAGE = types.GenerateContentResponseUsageMetadata(
    prompt_token_count=7, candidates_token_count=3, total_token_count=10
)


def _fragments(parts: list[Part]) -> list[Part]:
    """Return texts and thoughts in pieces, as models stream them. Other parts arrive whole."""
    found = []
    for part in parts:
        if text := part.text or "":
            length = max(12, len(text) // 20)
            pieces = (text[start : start + length] for start in range(0, len(text), length))
            found += [Part(text=piece, thought=part.thought) for piece in pieces]
    return found


def scripted(*script: Any, name: str = "root", **fields: Any) -> Agent:
    """Return an agent whose model plays ``script``."""
    return Agent(name=name, model=Scripted(script=list(script)), **fields)
