"""One conversation of one member, held over HTTP."""

from dataclasses import dataclass
from typing import Any

import pytest
from google.adk.tools import FunctionTool

from chat.agent.agents import assistant, catalog
from tests.support.client import Client
from tests.support.sse_client import SseEvent, terminal_of, text_of


@dataclass(frozen=True)
class Said:
    """The events that answered one question, and their meaning."""

    events: list[SseEvent]

    @property
    def text(self) -> str:
        return text_of(self.events)

    @property
    def thought(self) -> str:
        return "".join(event.json()["text"] for event in self.named("thought"))

    @property
    def run(self) -> str:
        return self.events[0].run

    @property
    def prompt(self) -> str:
        return str(self.events[0].json()["prompt"])

    @property
    def end(self) -> str:
        """The terminal event's name."""
        return terminal_of(self.events).name

    @property
    def data(self) -> dict[str, Any]:
        """The terminal event's data."""
        found: dict[str, Any] = terminal_of(self.events).json()
        return found

    @property
    def code(self) -> str | None:
        code: str | None = self.data.get("code")
        return code

    @property
    def message(self) -> str | None:
        """The id of the reply."""
        message: str | None = self.data["message"]
        return message

    def named(self, name: str) -> list[SseEvent]:
        return [event for event in self.events if event.name == name]

    def deltas(self) -> list[str]:
        """Return the texts of the unnamed events."""
        return [event.json()["text"] for event in self.events if event.is_text]


class Talk:
    """Conversation that the first question starts and later ones continue."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.conversation: str | None = None

    async def ask(self, query: str | None = None, **fields: Any) -> Said:
        """Ask a question and read the stream to its end."""
        answer = await self.client.post("/chat/stream", self._body(query, fields))
        assert answer.status == 200, answer.body
        assert answer.events[-1].is_done, answer.text[-500:]
        self.conversation = answer.events[0].json()["conversation"]
        return Said(answer.events)

    async def ask_whole(self, query: str | None = None, **fields: Any) -> dict[str, Any]:
        """Ask a question with ``"stream": false``."""
        answer = await self.client.post("/chat/stream", self._body(query, fields | {"stream": False}))
        assert answer.status == 200, answer.body
        found: dict[str, Any] = answer.json()
        self.conversation = found["conversation"]
        return found

    def _body(self, query: str | None, fields: dict[str, Any]) -> dict[str, Any]:
        body = dict(fields)
        if query is not None:
            body["query"] = query
        if self.conversation and "prompt" not in body:
            body["conversation"] = self.conversation
        return body

    async def messages(self) -> list[dict[str, Any]]:
        """Return the messages of the active branch."""
        answer = await self.client.get(f"/api/v1/conversations/{self.conversation}?limit=100")
        assert answer.status == 200, answer.body
        found: list[dict[str, Any]] = answer.json()["messages"]["items"]
        return found

    async def reply(self) -> dict[str, Any]:
        """Return the last message of the active branch."""
        return (await self.messages())[-1]


async def use_tools(monkeypatch: pytest.MonkeyPatch, *functions: Any) -> None:
    """Make these functions the built-in assistant's tools."""
    monkeypatch.setattr(assistant, "built_in", lambda: [FunctionTool(function) for function in functions])
    await catalog.close()
