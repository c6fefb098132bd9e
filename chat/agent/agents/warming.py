"""The warm-up of a process: import and build everything that the first run needs, without network."""

import asyncio
import importlib
import sys
from collections.abc import AsyncGenerator
from functools import cache

from google.adk.agents import LlmAgent
from google.adk.apps import App
from google.adk.models import BaseLlm, Gemini, LlmRequest, LlmResponse
from google.adk.runners import Runner
from google.adk.sessions import InMemorySessionService
from google.genai import types

from chat.agent.agents import catalog, chat_model, gemini
from chat.agent.agents.tools import built_in
from chat.agent.turn import reply
from chat.agent.turn.tool_limits import with_tool_limits

WARM_UP_AGENT = "rehearsal"
# Imported by the first request to Gemini, which the warm-up cannot send.
GEMINI_MODULES = ["anyio._backends._asyncio", "encodings.idna", "google.auth.aio.credentials", "httpcore"]


def warm_up() -> None:
    """Build the runners and run one scripted turn. It takes a second: call it in a thread."""
    for name in catalog.available_names():
        catalog.runner_of(name)
    _import_modules()
    _import_clients()


async def open_clients() -> None:
    """Build the clients of Gemini models; ADK keeps one for each event loop."""
    for name in catalog.available_names():
        for agent in gemini.llm_agents(catalog.runner_of(name).agent):
            model = agent.canonical_model
            # Only with a key: a search for Google's default credentials may use the network.
            if isinstance(model, Gemini) and (model.client_kwargs or {}).get("api_key"):
                _ = model.api_client.aio


@cache
def _import_modules() -> None:
    """Run one turn of a scripted agent, once in a process: ADK 2 imports 400 modules during its first run."""
    for module in GEMINI_MODULES:
        importlib.import_module(module)
    asyncio.run(_turn())


def _import_clients() -> None:
    """Import what the clients of other models import during their first request."""
    if "google.adk.models.lite_llm" in sys.modules:  # ADK imports litellm itself with the first request
        asyncio.run(_mocked_request())
    if "openai" in sys.modules:
        importlib.import_module("openai.resources")


async def _mocked_request() -> None:
    """Answer a request within litellm, which imports 400 modules in 2 s."""
    litellm = chat_model.import_litellm()
    function = {"name": "current_time", "parameters": {"type": "object", "properties": {}}}
    answer = await litellm.acompletion(
        model="openai/mocked",
        messages=[{"role": "user", "content": "What time is it?"}],
        tools=[{"type": "function", "function": function}],
        stream=True,
        mock_response="Noon",
    )
    async for _chunk in answer:
        pass


async def _turn() -> None:
    agent = LlmAgent(name=WARM_UP_AGENT, model=ScriptedModel(model=WARM_UP_AGENT), tools=[*built_in()])
    runner = Runner(
        app=with_tool_limits(App(name=WARM_UP_AGENT, root_agent=agent), WARM_UP_AGENT),
        session_service=InMemorySessionService(),
    )
    session = await runner.session_service.create_session(app_name=WARM_UP_AGENT, user_id=WARM_UP_AGENT)
    question = types.Content(role="user", parts=[types.Part(text="What time is it in Lagos?")])
    async for _event in runner.run_async(
        user_id=WARM_UP_AGENT,
        session_id=session.id,
        new_message=question,
        run_config=reply.run_config(streams=True),
    ):
        pass
    await runner.close()


class ScriptedModel(BaseLlm):
    """A model that calls ``current_time``, which reads the time zones, and then answers with one word."""

    async def generate_content_async(
        self, llm_request: LlmRequest, stream: bool = False
    ) -> AsyncGenerator[LlmResponse, None]:
        if len(llm_request.contents) == 1:
            call = types.Part.from_function_call(name="current_time", args={"place": "Lagos"})
            yield _response(call)
            return
        yield _response(types.Part(text="Noon"), partial=True)
        yield _response(types.Part(text="Noon"))


def _response(part: types.Part, *, partial: bool = False) -> LlmResponse:
    return LlmResponse(content=types.Content(role="model", parts=[part]), partial=partial)
