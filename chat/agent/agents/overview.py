"""Parts of an agent for its page in the admin: the agents in it, with their models and tools."""

from dataclasses import dataclass
from typing import Any

from google.adk.runners import Runner

from chat.agent.agents import gemini
from chat.events import clean_text


@dataclass(frozen=True, slots=True)
class AgentOverview:
    """An agent that has a model, itself or one inside another agent."""

    name: str
    model: str
    tools: list[
        str
    ]  # names of functions and tools; a toolset has only its class, because listing it may connect


def overview_of(runner: Runner) -> list[AgentOverview]:
    """Return the agents of this Runner that have a model, parents first."""
    return [
        AgentOverview(
            clean_text(agent.name),
            clean_text(agent.canonical_model.model),
            [clean_text(_tool_name(tool)) for tool in agent.tools],
        )
        for agent in gemini.llm_agents(runner.agent)
    ]


def _tool_name(tool: Any) -> str:
    return str(getattr(tool, "name", None) or getattr(tool, "__name__", None) or type(tool).__name__)
