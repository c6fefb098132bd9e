"""A long conversation: what is ours does not grow with it, and the model is sent what a bare Runner sends."""

import json
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from django.conf import LazySettings
from google.adk.agents import LlmAgent
from google.adk.runners import InMemoryRunner
from google.genai import types

from chat.agent.agents.gemini import set_account
from chat.agent.turn.reply import run_config
from tests.support.campaigns import trials
from tests.support.client import Client
from tests.support.gemini import Call, Gemini, Step, Text, Thought
from tests.support.talk import Talk

pytestmark = pytest.mark.any_database

TURNS = trials(180, sample=16)

TEAM = '''
from google.adk.agents import LlmAgent


def look_up(place: str) -> dict:
    """Return the weather of a place."""
    return {"place": place, "wind": [3, 4.5, None], "text": "line\\u2028separator \\U0001f32c"}


helper = LlmAgent(name="helper", model="gemini-2.5-flash", instruction="Help.", tools=[look_up])
root_agent = LlmAgent(
    name="root", model="gemini-2.5-flash", instruction="Ask {name?}.", tools=[look_up], sub_agents=[helper]
)
'''


class Turns:
    """The same turns for each Runner: texts, thoughts, calls with signatures, and transfers."""

    def __init__(self, gemini: Gemini) -> None:
        self.gemini = gemini
        self._rng = random.Random(7)
        self._agent = "root"

    def prepare(self, number: int) -> str:
        """Set the model's answers to the next question, and return that."""
        said: list[Step] = [Thought(f"thinking {number}. "), Text(f"It is {number} "), Text("o'clock. 🕐")]
        agent, other = self._agent, "helper" if self._agent == "root" else "root"
        match self._rng.choice(["text", "call", "two calls", "transfer"]):
            case "text":
                self.gemini.on_agent(agent, said)
            case "call":
                self.gemini.on_agent(agent, [Call("look_up", {"place": "Rügen"}, signature="c2lnbmVk")], said)
            case "two calls":
                calls: list[Step] = [Call("look_up", {"place": name}) for name in ("Lagos", "Löwen")]
                self.gemini.on_agent(agent, [Text("I look. "), *calls], said)
            case "transfer":
                self.gemini.on_agent(agent, [Call("transfer_to_agent", {"agent_name": other})])
                self.gemini.on_agent(other, said)
                self._agent = other
        return f"Question {number}: what time is it in Zürich?"


async def of_parley(client: Client, gemini: Gemini) -> list[str]:
    """Return the bodies of all requests to the model."""
    turns, talk = Turns(gemini), Talk(client)
    for number in range(TURNS):
        query = turns.prepare(number)
        said = await talk.ask(query, **({} if talk.conversation else {"agent": "team"}))
        assert said.end == "run.completed"
    return [json.dumps(body) for body in gemini.requests]


async def of_bare_runner(gemini: Gemini) -> list[str]:
    code: dict[str, Any] = {}
    exec(TEAM, code)
    root: LlmAgent = code["root_agent"]
    assert set_account(root, {"api_key": "not-a-key"}, gemini.url)
    runner = InMemoryRunner(root, app_name="team")
    session = await runner.session_service.create_session(app_name="team", user_id="alice")
    turns = Turns(gemini)
    for number in range(TURNS):
        message = types.Content(role="user", parts=[types.Part(text=turns.prepare(number))])
        stream = runner.run_async(
            user_id="alice", session_id=session.id, new_message=message, run_config=run_config(streams=True)
        )
        async for _event in stream:
            pass
    return [json.dumps(body) for body in gemini.requests]


@pytest.mark.timeout(600)
async def test_the_model_is_sent_what_a_bare_runner_sends(
    as_alice: Client,
    gemini: Gemini,
    settings: LazySettings,
    write_agents: Callable[[dict[str, str]], Awaitable[None]],
) -> None:
    settings.LIMITS = False
    settings.CONTEXT_EVENTS = 5000  # the default lets a run start from the newest 400 events
    await write_agents({"team/agent.py": TEAM})
    sent = await of_parley(as_alice, gemini)
    gemini.requests.clear()
    bare = await of_bare_runner(gemini)
    assert len(sent) == len(bare) > TURNS
    differing = [number for number, (ours, other) in enumerate(zip(sent, bare, strict=True)) if ours != other]
    assert differing == [], (sent[differing[0]], bare[differing[0]])
    assert "functionCall" in sent[-1]
    assert len(sent[-1]) > TURNS * 50
