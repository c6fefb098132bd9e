"""Import and build what the first run needs, before it is asked for and without the network."""

import asyncio
import importlib
from collections.abc import AsyncGenerator
from functools import cache

from google.adk.agents import LlmAgent
from google.adk.apps import App
from google.adk.models import BaseLlm, Gemini, LlmRequest, LlmResponse
from google.adk.runners import Runner
from google.adk.sessions import InMemorySessionService
from google.genai import types

from chat.agent.agents import catalog, gemini
from chat.agent.agents.tools import built_in
from chat.agent.turn import reply
from chat.agent.turn.tool_limits import fenced

NAME = "rehearsal"
# What a first request to Gemini imports, down to the socket; it can't be rehearsed without the network.
TRANSPORT = ["anyio._backends._asyncio", "encodings.idna", "google.auth.aio.credentials", "httpcore"]


def warm_up() -> None:
    """Build the runners, and rehearse. For a thread: it takes a second."""
    for name in catalog.names():
        catalog.runner_of(name)
    _rehearse()


async def open_clients() -> None:
    """Build the clients of Gemini models; ADK keeps one for each event loop.

    Where Google's own credentials are looked for, that may ask the network: it is left to the first run.
    """
    for name in catalog.names():
        for agent in gemini.llm_agents(catalog.runner_of(name).agent):
            model = agent.canonical_model
            if isinstance(model, Gemini) and (model.client_kwargs or {}).get("api_key"):
                _ = model.api_client.aio


@cache
def _rehearse() -> None:
    """Run one turn of an agent of its own, once a process: ADK imports 400 modules during its first run."""
    for module in TRANSPORT:
        importlib.import_module(module)
    asyncio.run(_turn())


async def _turn() -> None:
    agent = LlmAgent(name=NAME, model=Script(model=NAME), tools=[*built_in()])
    runner = Runner(
        app=fenced(App(name=NAME, root_agent=agent), NAME), session_service=InMemorySessionService()
    )
    session = await runner.session_service.create_session(app_name=NAME, user_id=NAME)
    question = types.Content(role="user", parts=[types.Part(text="What time is it in Lagos?")])
    async for _event in runner.run_async(
        user_id=NAME, session_id=session.id, new_message=question, run_config=reply.run_config(streams=True)
    ):
        pass
    await runner.close()


class Script(BaseLlm):
    """Calls a tool, the one that reads the time zones, then says a word."""

    async def generate_content_async(
        self, llm_request: LlmRequest, stream: bool = False
    ) -> AsyncGenerator[LlmResponse, None]:
        if len(llm_request.contents) == 1:
            call = types.Part.from_function_call(name="current_time", args={"place": "Lagos"})
            yield _said(call)
            return
        yield _said(types.Part(text="Noon"), partial=True)
        yield _said(types.Part(text="Noon"))


def _said(part: types.Part, *, partial: bool = False) -> LlmResponse:
    return LlmResponse(content=types.Content(role="model", parts=[part]), partial=partial)
