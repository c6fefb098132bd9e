"""Baseline of the benchmark: ADK's Runner alone, with sessions in memory, nothing stored or sent.

Reads lines of JSON from stdin, each a list of ``[talk, question]``, and answers the questions of a line
concurrently. Writes a line of JSON to stdout, with an object for each question: when it was asked, when each
text arrived and how many characters had arrived then, the streamed text, and the text that ADK stored.
"""

import asyncio
import json
import sys
import time
from typing import Any

from google.adk.agents.run_config import RunConfig, StreamingMode
from google.adk.runners import Runner
from google.adk.sessions import InMemorySessionService
from google.genai import types

from benchmarks.agent import NAME, agent

LINE_MAX_BYTES = 64 * 1024 * 1024


class Bare:
    """A Runner with one session for each talk."""

    def __init__(self) -> None:
        self._sessions = InMemorySessionService()
        self._runner = Runner(app_name=NAME, agent=agent(), session_service=self._sessions)

    async def answer_all(self, asks: list[list[str]]) -> list[dict[str, Any]]:
        return await asyncio.gather(*(self._answer(talk, question) for talk, question in asks))

    async def _answer(self, talk: str, question: str) -> dict[str, Any]:
        if not await self._sessions.get_session(app_name=NAME, user_id="u", session_id=talk):
            await self._sessions.create_session(app_name=NAME, user_id="u", session_id=talk)
        began, characters = time.monotonic(), 0
        shown: list[str] = []
        arrivals: list[tuple[float, int]] = []
        events = self._runner.run_async(
            user_id="u",
            session_id=talk,
            new_message=types.Content(role="user", parts=[types.Part(text=question)]),
            run_config=RunConfig(streaming_mode=StreamingMode.SSE),
        )
        kept = ""
        async for event in events:
            text = "".join(part.text or "" for part in (event.content and event.content.parts) or [])
            if event.partial:
                shown.append(text)
                characters += len(text)
                arrivals.append((time.monotonic(), characters))
            else:
                kept = text
        return {"began": began, "arrivals": arrivals, "text": "".join(shown), "kept": kept}


async def main() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=LINE_MAX_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    bare = Bare()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while line := await reader.readline():
        sys.stdout.write(json.dumps(await bare.answer_all(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
