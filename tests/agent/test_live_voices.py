"""Which model speaks for an agent, and the sentences for agents that no one can speak with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks

from chat.agent.agents import catalog
from chat.agent.live.cascade import HeardCascade
from chat.agent.live.voices import LIVE_MODEL, Voice, reason_without_voice, voice_of

WriteFiles = Callable[[dict[str, str]], Path]

HEAD = """
    from google.adk.agents import Agent, LoopAgent, SequentialAgent
    from google.adk.live import CascadeLive
    from google.adk.models import Gemini
    from google.adk.workflow import START, Workflow
    from tests.support.speech import Ears, Mouth, ScriptedModel

    def one(name="root_agent", model="gemini-2.5-flash", **more):
        return Agent(name=name, model=model, **more)
"""


@pytest.fixture
def voice(agent_files: WriteFiles) -> Callable[[str], Voice]:
    def make(code: str) -> Voice:
        agent_files({"clerk/agent.py": f"{HEAD}\n    root_agent = {code}\n"})
        return voice_of("clerk")

    return make


@pytest.fixture
def reason(agent_files: WriteFiles) -> Callable[[str], str]:
    def make(code: str) -> str:
        agent_files({"clerk/agent.py": f"{HEAD}\n    root_agent = {code}\n"})
        return reason_without_voice("clerk") or ""

    return make


@pytest.fixture
def doubles(settings: Any) -> None:
    settings.LIVE_STT, settings.LIVE_TTS = "tests.support.speech.Ears", "tests.support.speech.Mouth"


def model_of(voice: Voice) -> Any:
    return getattr(voice.runner.agent, "model", None)


def test_a_gemini_model_gets_the_live_model_with_its_account(voice: Callable[[str], Voice]) -> None:
    found = voice("one(sub_agents=[one('helper')])")
    assert (found.kind, model_of(found).model) == ("native", LIVE_MODEL)
    assert model_of(found).client_kwargs["api_key"] == "not-a-key"
    [helper] = found.runner.agent.sub_agents  # type: ignore[attr-defined]
    assert (helper.model.model, helper.parent_agent) == (LIVE_MODEL, found.runner.agent)
    written = catalog.runner_of("clerk").agent
    assert written is not found.runner.agent
    assert written.canonical_model.model == "gemini-2.5-flash"  # type: ignore[attr-defined]


def test_vertex_has_another_name_for_it(voice: Callable[[str], Voice], settings: Any) -> None:
    settings.USE_VERTEX = True
    assert model_of(voice("one()")).model == "gemini-live-2.5-flash-native-audio"


def test_the_owner_chooses_another_live_model(voice: Callable[[str], Voice], settings: Any) -> None:
    settings.LIVE_MODEL = "gemini-3.1-flash-live-preview"
    assert model_of(voice("one()")).model == "gemini-3.1-flash-live-preview"


@pytest.mark.parametrize("name", ["gemini-3.1-flash-live-preview", "gemini-9-native-audio"])
def test_an_agents_own_live_model_stays(name: str, voice: Callable[[str], Voice], settings: Any) -> None:
    settings.LIVE_MODEL = ""
    found = voice(f"one(model={name!r})")
    assert (found.kind, model_of(found).model) == ("native", name)


def test_an_agents_own_cascade_is_used(voice: Callable[[str], Voice]) -> None:
    found = voice("one(model=CascadeLive(model='gemini-2.5-pro', stt=Ears(), tts=Mouth()))")
    assert found.kind == "cascade"
    model = model_of(found)
    assert isinstance(model, HeardCascade)
    assert model.text_model.model == "gemini-2.5-pro"
    assert getattr(model.text_model, "client_kwargs")["api_key"] == "not-a-key"  # noqa: B009


def test_other_models_speak_by_the_sites_speech(doubles: None, voice: Callable[[str], Voice]) -> None:
    found = voice("one(model=ScriptedModel())")
    assert (found.kind, model_of(found).text_model.model) == ("cascade", "scripted")


def test_a_mixed_tree_speaks_by_the_sites_speech(doubles: None, voice: Callable[[str], Voice]) -> None:
    found = voice("one(sub_agents=[one('helper', ScriptedModel())])")
    assert (found.kind, model_of(found).text_model.model) == ("cascade", "gemini-2.5-flash")


@pytest.mark.usefixtures("transactional_db")
def test_the_built_in_agent_without_a_key_is_a_demo(settings: Any, agent_files: WriteFiles) -> None:
    settings.GOOGLE_API_KEY = ""
    agent_files({})
    found = voice_of(settings.AGENT_NAME)
    assert (found.kind, found.is_demo) == ("demo", True)


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("LoopAgent(name='loop', sub_agents=[one()])", "loop is a LoopAgent"),
        ("SequentialAgent(name='line', sub_agents=[one()])", "line is a SequentialAgent"),
        (
            "one(sub_agents=[SequentialAgent(name='line', sub_agents=[one('x')])])",
            "line is a SequentialAgent",
        ),
        ("Workflow(name='flow', edges=[(START, one())])", "flow is a Workflow"),
        ("one(model=ScriptedModel())", "model scripted does not speak"),
        ("one(sub_agents=[one('helper', ScriptedModel())])", "model scripted does not speak"),
    ],
)
def test_an_agent_without_a_voice_says_why(code: str, sentence: str, reason: Callable[[str], str]) -> None:
    assert sentence in reason(code)


def test_agents_that_speak_in_two_ways_do_not_speak(reason: Callable[[str], str]) -> None:
    own = "CascadeLive(model='gemini-2.5-pro', stt=Ears(), tts=Mouth())"
    assert "in different ways" in reason(f"one(sub_agents=[one('helper', {own})])")


def test_calls_can_be_turned_off(reason: Callable[[str], str], settings: Any) -> None:
    settings.LIVE = False
    assert "turned off" in reason("one()")


def test_an_empty_live_model_turns_gemini_off(reason: Callable[[str], str], settings: Any) -> None:
    settings.LIVE_MODEL = ""
    assert "gemini-2.5-flash does not speak" in reason("one()")


def test_an_unknown_agent_has_no_voice() -> None:
    assert "not available" in (reason_without_voice("nobody") or "")


async def test_a_reload_builds_the_voice_again(agent_files: WriteFiles, gemini: Any) -> None:
    import asyncio

    code = f"{HEAD}\n    root_agent = one()\n"
    await asyncio.to_thread(agent_files, {"clerk/agent.py": code})
    before = await asyncio.to_thread(voice_of, "clerk")
    assert await asyncio.to_thread(voice_of, "clerk") is before
    await catalog.reload(lambda: None)
    after = await asyncio.to_thread(voice_of, "clerk")
    assert after is not before
    assert after.text_runner is catalog.runner_of("clerk")
    await catalog.close()


@pytest.mark.parametrize(
    ("stt", "tts", "sentence"),
    [
        ("no.such.Ears", "tests.support.speech.Mouth", "LIVE_STT: 'no.such.Ears' cannot be used"),
        ("tests.support.speech.Mouth", "tests.support.speech.Mouth", "makes no LiveIngress"),
        ("tests.support.speech.Ears", "", "LIVE_STT is set, and LIVE_TTS is not"),
        ("google.adk.live.GeminiSTT", "google.adk.live.GeminiTTS", ""),
    ],
)
def test_wrong_speech_is_found_at_the_start(
    stt: str, tts: str, sentence: str, settings: Any, reason: Callable[[str], str]
) -> None:
    settings.LIVE_STT, settings.LIVE_TTS = stt, tts
    found = [each.msg for each in run_checks() if each.id == "chat.E004"]
    assert [sentence in each for each in found] == ([True] if sentence else [])
    if sentence and tts:
        assert "not set up" in reason("one(model=ScriptedModel())")


def test_the_speech_may_be_beside_the_agents(
    agent_files: WriteFiles, voice: Callable[[str], Voice], settings: Any
) -> None:
    agent_files({"_own_speech.py": "from tests.support.speech import Ears, Mouth"})
    settings.LIVE_STT, settings.LIVE_TTS = "_own_speech.Ears", "_own_speech.Mouth"
    assert voice("one(model=ScriptedModel())").kind == "cascade"


def test_googles_speech_has_parleys_account(voice: Callable[[str], Voice], settings: Any) -> None:
    settings.LIVE_STT, settings.LIVE_TTS = "google.adk.live.GeminiSTT", "google.adk.live.GeminiTTS"
    found = model_of(voice("one(model=ScriptedModel())"))
    for speech in (found.stt, found.tts):
        assert speech._llm.client_kwargs["api_key"] == "not-a-key"
