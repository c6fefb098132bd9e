"""Titles that the agent's model writes after the first reply."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from chat.agent.agents.title import INSTRUCTION, title_in
from chat.models import Conversation, Run
from chat.runs import titles
from tests.support.client import Client
from tests.support.gemini import Gemini, Hold, Status, Text, questions_of
from tests.support.waiting import auntil


@pytest.fixture(autouse=True)
def by_the_model(settings: Any) -> None:
    settings.TITLES = "model"


async def title() -> str:
    return await Conversation.objects.values_list("title", flat=True).aget()


async def settled() -> str:
    """Return the title after the process has written all titles."""
    await auntil(lambda: not titles._writing)
    return await title()


async def test_the_model_names_a_conversation_after_its_first_reply(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("Why is the sky blue?", [Text("Because of scattering.")])
    gemini.on(INSTRUCTION, [Text('**"Blue sky"**.\n')])
    await as_alice.ask("Why is the sky blue?")
    assert await settled() == "Blue sky"
    assert questions_of(gemini.requests[-1]) == [
        ("user", "Why is the sky blue?"),
        ("model", "Because of scattering."),
        ("user", INSTRUCTION),
    ]


async def test_other_tabs_hear_of_the_title(as_alice: Client, gemini: Gemini) -> None:
    gemini.on(INSTRUCTION, [Hold(), Text("Blue sky")])
    started = (await as_alice.ask("Why?"))[0].json()
    async with as_alice.socket() as socket:
        await socket.opened()
        gemini.release()
        frame = await socket.frame()
    assert frame == {"type": "conversation", "conversation": started["conversation"]}


async def test_the_reply_does_not_wait_for_the_title(as_alice: Client, gemini: Gemini) -> None:
    gemini.on(INSTRUCTION, [Hold(), Text("Blue sky")])
    seen = await as_alice.ask("Why?")
    assert seen[-1].is_done
    assert await title() == "Why?"
    await as_alice.ask("And then?", conversation=seen[0].json()["conversation"])
    gemini.release()
    assert await settled() == "Blue sky"


async def test_a_title_that_its_owner_wrote_stays(as_alice: Client, gemini: Gemini) -> None:
    gemini.on(INSTRUCTION, [Hold(), Text("Blue sky")])
    conversation = (await as_alice.ask("Why?"))[0].json()["conversation"]
    await auntil(lambda: gemini.calls_for(INSTRUCTION) == 1)
    path = f"/api/v1/conversations/{conversation}"
    await as_alice.request("PATCH", path, json_body={"title": "Why?"})
    gemini.release()
    assert await settled() == "Why?"


async def test_only_the_first_reply_makes_a_title(as_alice: Client, gemini: Gemini) -> None:
    gemini.on(INSTRUCTION, [Text("Blue sky")], [Text("Second")])
    conversation = (await as_alice.ask("Why?"))[0].json()["conversation"]
    assert await settled() == "Blue sky"
    await as_alice.ask("And then?", conversation=conversation)
    assert await settled() == "Blue sky"
    assert gemini.calls_for(INSTRUCTION) == 1


async def test_a_retry_that_completes_makes_the_title(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("Why?", [Status(400, "INVALID_ARGUMENT")], [Text("So.")])
    gemini.on(INSTRUCTION, [Text("Blue sky")])
    started = (await as_alice.ask("Why?"))[0].json()
    assert await settled() == "Why?"
    await as_alice.post("/chat/stream", {"prompt": started["prompt"]})
    assert await settled() == "Blue sky"


@pytest.mark.parametrize(
    "answer",
    [[Status(400, "INVALID_ARGUMENT")], [Text("")], [Text("**")], [Text("\u202e\x07")], [Text("so " * 40)]],
    ids=["an error", "nothing", "only marks", "only control characters", "an essay"],
)
async def test_without_a_usable_title_the_first_words_stay(
    as_alice: Client, gemini: Gemini, answer: list[Any]
) -> None:
    gemini.on(INSTRUCTION, answer)
    await as_alice.ask("Why?")
    assert await settled() == "Why?"


async def test_first_words_make_no_call(as_alice: Client, gemini: Gemini, settings: Any) -> None:
    settings.TITLES = "first-words"
    await as_alice.ask("Why?")
    assert await settled() == "Why?"
    assert gemini.calls_for(INSTRUCTION) == 0


OWN_MODEL = """
    from google.adk.agents import Agent
    from google.adk.models import BaseLlm, LlmResponse
    from google.genai import types

    class Own(BaseLlm):
        async def generate_content_async(self, llm_request, stream=False):
            yield LlmResponse(content=types.Content(role="model", parts=[types.Part(text="Mine")]))

    root_agent = Agent(name="own", model=Own(model="own"))
"""


async def test_a_model_of_an_agents_own_class_writes_no_title(
    write_agents: Callable[[dict[str, str]], Awaitable[None]], as_alice: Client
) -> None:
    await write_agents({"own/agent.py": OWN_MODEL})
    await as_alice.ask("Why?", agent="own")
    assert await settled() == "Why?"


@pytest.mark.parametrize(
    ("answer", "title"),
    [
        ("# Blue sky", "Blue sky"),
        ("\n\n«Ciel bleu»\nBecause you asked.", "Ciel bleu"),
        ("「青い空」。", "青い空"),
        ("Rayleigh\tscattering \u202eevil", "Rayleigh scattering evil"),
        ("A family 👨‍👩‍👧", "A family 👨‍👩‍👧"),  # its joiners stay
        ("می‌خواهم", "می‌خواهم"),
    ],
)
def test_a_title_has_one_line_and_no_formatting(answer: str, title: str) -> None:
    assert title_in(answer) == title


async def test_the_tokens_of_a_title_are_added_to_its_run(as_alice: Client, gemini: Gemini) -> None:
    seen = await as_alice.ask("Why?")
    assert seen[-2].json()["usage"]["calls"] == 1
    assert await settled() == "Why?"  # the echo is too long for a title, and cost tokens all the same
    run = await Run.objects.aget()
    assert (run.usage_input, run.usage_output, run.usage_total, run.usage_calls) == (24, 8, 32, 2)


async def test_a_run_without_model_calls_left_gets_no_title(
    as_alice: Client, gemini: Gemini, settings: Any
) -> None:
    settings.MODEL_CALLS = 1
    gemini.on(INSTRUCTION, [Text("Blue sky")])
    await as_alice.ask("Why?")
    assert await settled() == "Why?"
    assert gemini.calls_for(INSTRUCTION) == 0
