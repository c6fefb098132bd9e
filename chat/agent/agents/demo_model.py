"""A model without a key, for a first try: it runs in ADK's Runner, streams, thinks and calls tools."""

import asyncio
import io
import random
import re
from collections.abc import AsyncGenerator

from django.conf import settings
from google.adk.models import BaseLlm, LlmRequest, LlmResponse
from google.genai import types
from PIL import Image, ImageDraw

TIME_QUESTION = re.compile(r"\btime\b.*\bin\s+([^?.!,;]+)", re.IGNORECASE)
NOT_A_PLACE = re.compile(r"\s+(?:right now|now|today|currently|at the moment|please)$", re.IGNORECASE)
SUM_QUESTION = re.compile(
    r"(?:what(?:'s| is)|how much is|calculate)\s+([-+*/%().\d\s]*\d[-+*/%().\d\s]*)", re.IGNORECASE
)
BEFORE_QUESTION = re.compile(
    r"\b(?:did|have|had)\s+I\s+(?:just\s+)?ask(?:ed)?\b"
    r"|\bI\s+(?:have\s+)?(?:just\s+)?asked\b"
    r"|\bmy\s+(?:last|previous|earlier|first|other)\s+(?:questions?|messages?)\b",
    re.IGNORECASE,
)
CODE_QUESTION = re.compile(r"\b(?:code|python|program|function|script)\b", re.IGNORECASE)
PICTURE_QUESTION = re.compile(r"\b(?:draw|paint)\b", re.IGNORECASE)
PICTURE_SIZE = (640, 360)
CIRCLES = 24
DELTA_PATTERN = re.compile(r"\s*\S+\s*$|\s*\S+")
QUESTION_LENGTH = 300  # characters that are read and quoted: each word takes DEMO_DELAY_SECONDS
MAX_RECALLED = 10  # earlier questions

INTRODUCTION = (
    "I am Parley's **demo model**: no language model is behind me, and no key is needed. "
    "Set `GOOGLE_API_KEY` and Gemini answers in my place."
)
SPOKEN_INTRODUCTION = (
    "I am the demo model: I understand no speech, so I took a sentence from a list, and my voice is tones. "
    "Type to me, or set a key, and Gemini speaks in my place."
)
WITHOUT_MARKUP = str.maketrans("", "", "*`")
CODE_SAMPLE = '''Here is a small program, as a real model might write it:

```python
def fibonacci(n: int) -> int:
    """The n-th Fibonacci number."""
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a


print([fibonacci(n) for n in range(10)])
```
'''
SKILLS = """Meanwhile I can show what this page does with an answer:

- text that **streams** as it is written
- lists, tables and `code`
- thoughts and *tool calls*: ask me "What time is it in Lagos?"

| you ask | I show |
|---|---|
| what time is it in Lagos? | a tool call |
| what is 12 * 34? | another one |
| write some Python | highlighted code |
| draw me something | a picture |
| about a file that you attach | that it arrived |
| what did I ask before? | that I know our conversation |
"""


class DemoModel(BaseLlm):
    """The demo model. Stateless: one instance serves all conversations."""

    model: str = "demo"
    speaks: bool = False  # its text is said in a call

    async def generate_content_async(
        self, llm_request: LlmRequest, stream: bool = False
    ) -> AsyncGenerator[LlmResponse, None]:
        parts = demo_answer(llm_request, speaks=self.speaks)
        if stream:
            async for fragment in _fragments(parts):
                yield fragment
        yield LlmResponse(
            content=types.Content(role="model", parts=parts),
            partial=False,
            finish_reason=types.FinishReason.STOP,
            usage_metadata=_usage(llm_request, parts),
        )


def demo_answer(request: LlmRequest, *, speaks: bool = False) -> list[types.Part]:
    """Return the complete answer to a request: a thought, then text or a function call."""
    last = request.contents[-1] if request.contents else types.Content(parts=[])
    results = [p.function_response for p in last.parts or [] if p.function_response]
    if results:
        texts = [_result_text(result) for result in results]
        return [types.Part(text=text.translate(WITHOUT_MARKUP) if speaks else text) for text in texts]
    questions = [_short(question) for question in _questions(request)]
    question = questions[-1] if questions else ""
    if call := _call_for(question, request):
        return [_thought("A tool of mine knows this. I call it."), types.Part(function_call=call)]
    if speaks:
        return [types.Part(text=f"You said: {question} {SPOKEN_INTRODUCTION}")]
    files = [part.inline_data for part in last.parts or [] if part.inline_data]
    if PICTURE_QUESTION.search(question) and not files:
        said = types.Part(text="Here is a picture, as a model that can draw would send it:")
        return [_thought("I paint circles."), said, _picture(question)]
    return [
        _thought("No tool is needed for this. I answer by myself."),
        types.Part(text="".join(map(_seen, files)) + _answer_text(question, questions)),
    ]


def _call_for(question: str, request: LlmRequest) -> types.FunctionCall | None:
    if "current_time" in request.tools_dict and (found := TIME_QUESTION.search(question)):
        return types.FunctionCall(name="current_time", args={"place": NOT_A_PLACE.sub("", found[1]).strip()})
    if "calculate" in request.tools_dict and (found := SUM_QUESTION.search(question)):
        return types.FunctionCall(name="calculate", args={"expression": found[1].strip(" .")})
    return None


def _result_text(result: types.FunctionResponse) -> str:
    found = result.response or {}
    if "error" in found:
        return f"My tool `{result.name}` could not help: {found['error']}"
    if result.name == "current_time":
        return f"In {found['place']} it is **{found['time']}** on {found['date']} ({found['time_zone']})."
    return f"My tool `{result.name}` says: **{found.get('result', found)}**"


def _answer_text(question: str, questions: list[str]) -> str:
    if BEFORE_QUESTION.search(question):
        earlier = questions[:-1]
        if not earlier:
            return "This is the first thing that you ask me in this conversation."
        recalled = list(enumerate(earlier, 1))[-MAX_RECALLED:]
        return "Before this you asked me:\n\n" + "\n".join(f"{n}. {q}" for n, q in recalled)
    if CODE_QUESTION.search(question):
        return f"{CODE_SAMPLE}\n{INTRODUCTION}"
    return f"You said: {question}\n\n{INTRODUCTION}\n\n{SKILLS}"


def _seen(file: types.Blob) -> str:
    return f"I got your file, of {len(file.data or b'')} bytes and type `{file.mime_type}`. "


def _picture(question: str) -> types.Part:
    """Return a picture of circles, the same one for the same question."""
    chance = random.Random(question)  # noqa: S311  (only a pattern)
    image = Image.new("RGB", PICTURE_SIZE, f"hsl({chance.randrange(360)}, 45%, 90%)")
    draw = ImageDraw.Draw(image)
    for _number in range(CIRCLES):
        x, y, radius = chance.randrange(image.width), chance.randrange(image.height), chance.randrange(20, 90)
        draw.circle((x, y), radius, fill=f"hsl({chance.randrange(360)}, 60%, {chance.randrange(45, 80)}%)")
    encoded = io.BytesIO()
    image.save(encoded, "PNG")
    return types.Part(
        inline_data=types.Blob(data=encoded.getvalue(), mime_type="image/png", display_name="circles.png")
    )


def _short(question: str) -> str:
    """Return the question on one line of at most QUESTION_LENGTH characters."""
    line = " ".join(question.split())
    return line if len(line) <= QUESTION_LENGTH else line[: QUESTION_LENGTH - 1] + "…"


def _questions(request: LlmRequest) -> list[str]:
    """Return the user's questions, oldest first."""
    texts = (
        "".join(part.text for part in content.parts or [] if part.text)
        for content in request.contents
        if content.role == "user"
    )
    return [text for text in texts if text]


def _thought(text: str) -> types.Part:
    return types.Part(text=text, thought=True)


async def _fragments(parts: list[types.Part]) -> AsyncGenerator[LlmResponse, None]:
    for part in parts:
        for piece in DELTA_PATTERN.findall(part.text) if part.text else []:
            await asyncio.sleep(settings.DEMO_DELAY_SECONDS)
            fragment = types.Part(text=piece, thought=part.thought)
            yield LlmResponse(content=types.Content(role="model", parts=[fragment]), partial=True)


def _usage(request: LlmRequest, parts: list[types.Part]) -> types.GenerateContentResponseUsageMetadata:
    """Return token counts in which a word counts as one token, so that the usage figures change."""
    prompt = sum(len((p.text or "").split()) for c in request.contents for p in c.parts or [])
    thought = sum(len((p.text or "").split()) for p in parts if p.thought)
    text = sum(len((p.text or "").split()) for p in parts if not p.thought)
    return types.GenerateContentResponseUsageMetadata(
        prompt_token_count=prompt,
        candidates_token_count=text,
        thoughts_token_count=thought,
        total_token_count=prompt + text + thought,
    )
