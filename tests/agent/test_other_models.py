"""The built-in agent on models of other providers, with their real clients.

Only the servers are fakes (tests/support/other_models.py).
"""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from chat.agent.agents import catalog
from chat.agent.agents.title import INSTRUCTION
from chat.models import Conversation, Message, Run
from chat.runs import titles
from tests.support.client import Client
from tests.support.gemini import Call, Cut, Status, Text, Thought, closed_port
from tests.support.other_models import OtherModels
from tests.support.talk import Talk
from tests.support.waiting import auntil

pytestmark = pytest.mark.any_database


@dataclass(frozen=True)
class Provider:
    """A CHAT_MODEL, the part of its address behind the server's, and the header that has the key."""

    model: str
    path: str = ""
    header: str = "authorization"


PROVIDERS = {
    "openai by litellm": Provider("openai/any-model", "/v1"),
    "openai": Provider("gpt-4o", "/v1"),
    "ollama": Provider("ollama_chat/llama3.2"),
    "anthropic": Provider("claude-sonnet-4-5", header="x-api-key"),
}
KEY = "a-key-of-the-owner"


@pytest.fixture(scope="module")
def server() -> Iterator[OtherModels]:
    server = OtherModels()
    yield server
    server.close()


@pytest.fixture
def others(server: OtherModels) -> Iterator[OtherModels]:
    yield server
    server.reset()


@pytest.fixture(params=PROVIDERS.values(), ids=list(PROVIDERS))
def provider(request: pytest.FixtureRequest) -> Provider:
    found: Provider = request.param
    return found


@pytest.fixture
async def talk(as_alice: Client, others: OtherModels, provider: Provider, settings: Any) -> Talk:
    settings.CHAT_MODEL = provider.model
    settings.CHAT_API_BASE = others.url + provider.path
    settings.CHAT_API_KEY = KEY
    settings.AGENT_SHOWS_THOUGHTS = False  # as without the setting
    await catalog.close()
    return Talk(as_alice)


async def test_text_streams_and_is_stored(talk: Talk, others: OtherModels, provider: Provider) -> None:
    others.on("Hello", [Text("Gu"), Text("ten "), Text("Tag, 量子")])
    said = await talk.ask("Hello")
    assert (said.end, said.text) == ("run.completed", "Guten Tag, 量子"), (await Run.objects.aget()).failure
    assert len(said.deltas()) > 1
    assert (await Message.objects.aget(role="assistant")).text == said.text
    assert KEY in others.headers[-1][provider.header]
    run = await Run.objects.aget()
    assert (run.usage_input, run.usage_output, run.usage_total, run.usage_calls) == (12, 4, 16, 1)


async def test_an_answer_in_one_piece(talk: Talk, others: OtherModels) -> None:
    others.on("Hello", [Text("Guten "), Text("Tag")])
    answer = await talk.ask_whole("Hello")
    assert (answer["status"], answer["message"]["text"]) == ("completed", "Guten Tag")


async def test_a_tool_is_called(talk: Talk, others: OtherModels) -> None:
    others.on("What is 6 * 7?", [Call("calculate", {"expression": "6 * 7"})], [Text("It is 42.")])
    said = await talk.ask("What is 6 * 7?")
    assert (said.end, said.text) == ("run.completed", "It is 42."), (await Run.objects.aget()).failure
    (returned,) = said.named("tool.returned")
    assert returned.json()["result"] == {"result": 42}
    assert "42" in str(others.requests[-1]["messages"][-1])
    run = await Run.objects.aget()
    assert (run.usage_input, run.usage_calls) == (24, 2)


async def test_the_conversation_is_sent_again(talk: Talk, others: OtherModels) -> None:
    await talk.ask("Hello")
    await talk.ask("And now?")
    assert "You said: Hello" in str(others.requests[-1]["messages"])


async def test_text_in_think_tags_becomes_a_thought(talk: Talk, others: OtherModels) -> None:
    others.on("Hello", [Text("<thi"), Text("nk>Hm.</think>"), Text("Good day")])
    said = await talk.ask("Hello")
    assert (said.text.strip(), said.thought.strip()) == ("Good day", "Hm.")


async def test_a_models_own_thoughts_are_thoughts(
    talk: Talk, others: OtherModels, provider: Provider
) -> None:
    others.on("Hello", [Thought("Hm."), Text("Good day")])
    said = await talk.ask("Hello")
    thought = "" if provider.model == "gpt-4o" else "Hm."  # OpenAI itself sends none there
    assert (said.text.strip(), said.thought.strip()) == ("Good day", thought)


async def test_the_model_writes_titles(talk: Talk, others: OtherModels, settings: Any) -> None:
    settings.TITLES = "model"
    others.on(INSTRUCTION, [Text("A greeting")])
    await talk.ask("Hello")
    await auntil(lambda: not titles._writing)
    assert await Conversation.objects.values_list("title", flat=True).aget() == "A greeting"
    assert (await Run.objects.aget()).usage_calls == 2


# --- failures -------------------------------------------------------------------------------------

REFUSALS = {
    "a wrong key": (
        Status(401, "invalid_api_key", message=f"Incorrect API key: {KEY}"),
        "misconfigured",
        "check CHAT_API_KEY",
    ),
    "a key without rights": (Status(403, "permission_error"), "misconfigured", "check CHAT_API_KEY"),
    "an unknown model": (
        Status(404, "model_not_found", message="model 'x' not found"),
        "misconfigured",
        "check CHAT_MODEL",
    ),
    "an exhausted quota": (Status(429, "insufficient_quota"), "rate_limited", "quota"),
    "an overloaded server": (Status(503, "overloaded_error"), "unavailable", ""),
}


@pytest.mark.parametrize(("refusal", "code", "advice"), REFUSALS.values(), ids=REFUSALS.keys())
async def test_a_refusal_is_named(
    talk: Talk, others: OtherModels, caplog: pytest.LogCaptureFixture, refusal: Status, code: str, advice: str
) -> None:
    others.on("Hello", [refusal])
    said = await talk.ask("Hello")
    run = await Run.objects.aget()
    assert run.failure
    assert (said.end, said.code) == ("run.failed", code), run.failure
    assert advice in run.failure["message"] and advice in caplog.text, run.failure
    assert KEY not in str(run.failure) and KEY not in caplog.text


async def test_a_server_that_cannot_be_reached_is_unavailable(talk: Talk, settings: Any) -> None:
    settings.CHAT_API_BASE = f"http://127.0.0.1:{closed_port()}"
    await catalog.close()
    said = await talk.ask("Hello")
    run = await Run.objects.aget()
    assert run.failure
    assert (said.end, said.code) == ("run.failed", "unavailable"), run.failure
    assert "check CHAT_API_BASE" in run.failure["message"], run.failure


async def test_odd_text_arrives_byte_for_byte(talk: Talk, others: OtherModels) -> None:
    text = "a\u2028b\u2029c d 👩‍👩‍👧 “量子”\r\n\x0b\x1c\u200fe"
    others.on("Say it", [Text(text), Text(text)])
    assert (await talk.ask("Say it")).text == text * 2


async def test_a_reply_that_is_cut_keeps_what_was_shown(talk: Talk, others: OtherModels) -> None:
    others.on("Hello", [Text("Half "), Cut()])
    said = await talk.ask("Hello")
    assert said.end == "run.failed" and said.code in ("model_error", "unavailable"), said.data
    assert said.text.strip() == "Half"


async def test_a_folders_agent_without_a_key_names_its_env_file(
    write_agents: Callable[[dict[str, str]], Awaitable[None]],
    as_alice: Client,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    agent = 'from google.adk.agents import Agent\nroot_agent = Agent(name="keyless", model="%s")\n'
    await write_agents({"keyless/agent.py": agent % "gpt-4o", "lite/agent.py": agent % "openai/any-model"})
    for name in ("keyless", "lite"):
        said = await Talk(as_alice).ask("Hello", agent=name)
        assert (said.end, said.code, said.data["retryable"]) == ("run.failed", "misconfigured", False)
        assert "the key" not in said.data["detail"]
        failure = (await Run.objects.aget(pk=said.run)).failure
        assert failure and "check the agent's .env" in failure["message"]
    assert caplog.text.count("check the agent's .env") == 2


async def test_a_name_of_no_provider_is_misconfigured(as_alice: Client, settings: Any) -> None:
    settings.CHAT_MODEL = "llama"
    await catalog.close()
    said = await Talk(as_alice).ask("Hello")
    failure = (await Run.objects.aget()).failure
    assert (said.end, said.code) == ("run.failed", "misconfigured")
    assert failure and failure["kind"] == "CHAT_MODEL"
