"""Title of a conversation, written by the model of its agent."""

import unicodedata

from google.adk.models import BaseLlm, LlmRequest
from google.genai import types

from chat.agent.agents import catalog, gemini
from chat.agent.memory.model_calls import add_tokens
from chat.agent.turn import containment
from chat.events import Usage

# The last question of the request: the fake model of the tests answers it by its text.
INSTRUCTION = (
    "Write a title for this conversation: at most six words, in the language of the first question, "
    "without quotation marks or formatting. Answer with the title only."
)
READ_LENGTH = 2000  # characters of each that the model reads
OUTPUT_TOKENS = 1024  # a model's thoughts count too
TITLE_WIDTH = 60
# They join letters and emoji; every other character without a glyph is dropped.
JOINERS = "\u200c\u200d"
DRESSING = "\"'`*_#~<>“”„‟«»‹›‘’「」『』《》.。 \t"  # noqa: RUF001  (quotation marks of many languages)


async def write_title(agent: str, question: str, reply: str) -> tuple[str, Usage]:
    """Return a title, or "" if this agent's model writes none, and the usage of the model call.

    A title has at most TITLE_WIDTH characters. Raises what the model raises.
    """
    model = _model_of(agent)
    if model is None:
        return "", Usage()
    request = LlmRequest(
        model=model.model,
        contents=[
            _said("user", question[:READ_LENGTH]),
            _said("model", reply[:READ_LENGTH]),
            _said("user", INSTRUCTION),
        ],
        config=types.GenerateContentConfig(max_output_tokens=OUTPUT_TOKENS),
    )
    usage = Usage(calls=1)
    work = containment.contained(_answer(model, request, usage))
    return title_in(await containment.begin(work, containment.AgentScope(agent))), usage


def title_in(answer: str) -> str:
    """Return the title that a model's answer holds, without formatting; "" if it is no title."""
    line = next((line for line in answer.splitlines() if line.strip(DRESSING)), "")
    words = " ".join(line.split())
    title = "".join(
        letter for letter in words if letter in JOINERS or not unicodedata.category(letter).startswith("C")
    ).strip(DRESSING)
    return title if len(title) <= TITLE_WIDTH else ""


def _model_of(agent: str) -> BaseLlm | None:
    """Return the model of the agent's root, if its class is ADK's own.

    A class that an agent's author wrote may count its calls or follow a script, so only its agent calls it.
    """
    root = next(gemini.llm_agents(catalog.runner_of(agent).agent), None)
    model = root.canonical_model if root else None
    return model if model and type(model).__module__.startswith("google.adk.") else None


async def _answer(model: BaseLlm, request: LlmRequest, usage: Usage) -> str:
    texts = []
    async for response in model.generate_content_async(request, stream=False):
        add_tokens(usage, response.usage_metadata)
        parts = response.content.parts if response.content and response.content.parts else []
        texts += [part.text for part in parts if part.text and not part.thought]
    return "".join(texts)


def _said(role: str, text: str) -> types.Content:
    return types.Content(role=role, parts=[types.Part(text=text)])
