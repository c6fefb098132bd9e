"""Which agents there are, and the Runner of each."""

import asyncio
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from google.adk.apps import App
from google.adk.plugins import BasePlugin
from google.adk.runners import Runner
from google.adk.tools import BaseTool, ToolContext

from chat.agent import assistant, transport
from chat.agent.session_service import ConversationSessionService
from chat.events import clean_text


class ToolErrors(BasePlugin):
    """A tool that raises becomes an error result that the model sees, not the run's end."""

    async def on_tool_error_callback(
        self, *, tool: BaseTool, tool_args: dict[str, Any], tool_context: ToolContext, error: BaseException
    ) -> dict[str, Any] | None:
        if isinstance(error, asyncio.CancelledError):
            return None
        return {"error": clean_text(f"{type(error).__name__}: {error}")}


@dataclass(frozen=True, slots=True)
class Listed:
    """An agent as a member sees it. ``reason`` says why one is not available."""

    name: str
    description: str
    available: bool = True
    reason: str | None = None


session_service = ConversationSessionService()
_runners: dict[str, Runner] = {}


def listed() -> list[Listed]:
    """All agents, the default first."""
    return [Listed(settings.AGENT_NAME, settings.AGENT_DESCRIPTION)]


def names() -> list[str]:
    """The agents that a new conversation may have, the default first."""
    return [agent.name for agent in listed() if agent.available]


def runner_of(name: str) -> Runner:
    """The one Runner of this agent in this process. Raises LookupError for an unknown name."""
    if name not in names():
        raise LookupError(f"There is no agent {name!r}.")
    if name not in _runners:
        app = App(name=name, root_agent=assistant.build(), plugins=[ToolErrors(name="tool_errors")])
        _runners[name] = Runner(app=app, session_service=session_service)
    return _runners[name]


async def close() -> None:
    """Give back what the runners hold, their connections to the model too. The next run begins anew."""
    runners = list(_runners.values())
    _runners.clear()
    for runner in runners:
        await runner.close()
    await transport.close_all()


def warm_up() -> None:
    """Import and build what the first run needs: about a second, before anybody waits for it."""
    for name in names():
        runner_of(name)
