"""Models of other transports than Parley's own: responses of text that arrive in one window become one."""

import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from functools import partial

from google.adk.models import BaseLlm, LlmRequest, LlmResponse
from google.adk.workflow import BaseNode
from google.genai import types

from chat.agent.agents import gemini
from chat.agent.agents.coalescing import Gatherer, pause

# A response with another field stays as it is.
RESPONSE_FIELDS = {"content", "partial", "usage_metadata", "model_version"}
METHOD = "generate_content_async"


def coalesce(root: BaseNode) -> None:
    """Give the agents copies of their models that join responses, where Parley's transport does not do it.

    A copy has the class of its model, which ADK looks at. Agents that share a model share its copy.
    """
    copies: dict[int, BaseLlm] = {}
    for agent in gemini.llm_agents(root):
        model = agent.canonical_model  # its own, or its parent's, which is a copy already
        if gemini.uses_our_transport(model) or METHOD in vars(model):
            continue
        if id(model) not in copies:
            copies[id(model)] = model.model_copy()
            # On the object: a subclass would be another class. Pydantic refuses an ordinary assignment.
            object.__setattr__(copies[id(model)], METHOD, partial(_generate, copies[id(model)]))
        agent.model = copies[id(model)]


async def _generate(
    model: BaseLlm, llm_request: LlmRequest, stream: bool = False
) -> AsyncGenerator[LlmResponse, None]:
    source = type(model).generate_content_async(model, llm_request, stream=stream)
    if not stream:
        async with aclosing(source):
            async for response in source:
                yield response
        return
    gatherer = Gatherer(source)
    has_begun, taken_at = False, time.monotonic()
    try:
        while responses := await gatherer.take():
            if not has_begun:
                has_begun = True
                yield responses.pop(0)
            for response in _joined(responses):
                yield response
            await pause(taken_at)
            taken_at = time.monotonic()
    finally:
        await gatherer.close()


def _joined(responses: Sequence[LlmResponse]) -> Iterator[LlmResponse]:
    before: LlmResponse | None = None
    for response in responses:
        if not _is_text(response):
            if before:
                yield before
            before = None
            yield response
        elif before and _alike(before, response):
            before = _join(before, response)
        else:
            if before:
                yield before
            before = response
    if before:
        yield before


def _is_text(response: LlmResponse) -> bool:
    """Return whether the response is a fragment with nothing but text."""
    if not response.partial or any(v is not None for name, v in response if name not in RESPONSE_FIELDS):
        return False
    parts = response.content.parts if response.content else None
    if not parts or len(parts) > 1 or not parts[0].text:
        return False
    return all(value is None for name, value in parts[0] if name != "text")


def _alike(first: LlmResponse, second: LlmResponse) -> bool:
    assert first.content and second.content
    return first.content.role == second.content.role and first.model_version == second.model_version


def _join(first: LlmResponse, second: LlmResponse) -> LlmResponse:
    """Return one response with both texts. Its usage is the second one's, a sum so far, if it has one."""
    assert first.content and first.content.parts and second.content and second.content.parts
    text = f"{first.content.parts[0].text}{second.content.parts[0].text}"
    return second.model_copy(
        update={
            "content": types.Content(role=second.content.role, parts=[types.Part(text=text)]),
            "usage_metadata": second.usage_metadata or first.usage_metadata,
        }
    )
