"""Which model speaks for an agent, and the Runner of its calls.

A call has a Runner of its own, whose agents are copies of the agent's with models that speak. Tools, services
and plugins are those of the written one.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.functional import Promise
from django.utils.module_loading import import_string
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _
from google.adk.agents import LlmAgent
from google.adk.live import CascadeLive, LiveEgress, LiveIngress
from google.adk.models import BaseLlm, Gemini
from google.adk.runners import Runner

from chat.agent.agents import catalog, gemini
from chat.agent.agents.chat_model import MisconfiguredModel
from chat.agent.agents.demo_model import DemoModel
from chat.agent.agents.importing import use_folder
from chat.agent.live.cascade import HeardCascade
from chat.agent.live.demo_speech import DemoEars, DemoVoice
from chat.agent.live.requests import CallTools
from chat.agent.live.session import live_session_service
from chat.agent.live.wire import with_own_wire

LIVE_MODEL = "gemini-2.5-flash-native-audio-preview-12-2025"
VERTEX_LIVE_MODEL = "gemini-live-2.5-flash-native-audio"
LIVE_NAMES = ("-live", "native-audio")  # in names of Gemini models that speak

VoiceKind = Literal["native", "cascade", "demo"]


class NoVoice(Exception):
    """No one can speak with this agent. ``reason`` is a sentence for members."""

    def __init__(self, reason: str | Promise) -> None:
        super().__init__(str(reason))
        self.reason = reason


class SpeechError(ImproperlyConfigured):
    """LIVE_STT or LIVE_TTS names nothing that can be used."""


@dataclass(frozen=True, slots=True)
class Voice:
    """The Runner of an agent's calls. A native voice hears by itself; a cascade has a text model."""

    runner: Runner
    text_runner: Runner  # of written runs; in use while a call is connected
    kind: VoiceKind

    @property
    def is_demo(self) -> bool:
        return self.kind == "demo"


_voices: dict[Runner, Voice | NoVoice] = {}  # by the Runner of written runs
_making = threading.Lock()


def voice_of(agent: str) -> Voice:
    """Return the voice of an agent. Raises NoVoice. The first call builds it, without a network."""
    if not settings.LIVE:
        raise NoVoice(_("Spoken conversations are turned off here."))
    try:
        runner = catalog.runner_of(agent)
    except LookupError as error:
        raise NoVoice(_("This agent is not available.")) from error
    with _making:
        if runner not in _voices:
            _voices[runner] = _make(runner)
        found = _voices[runner]
    if isinstance(found, NoVoice):
        raise NoVoice(found.reason)
    return found


def reason_without_voice(agent: str) -> str | None:
    """Return why no one can speak with this agent, or None if one can."""
    try:
        voice_of(agent)
    except NoVoice as error:
        return str(error.reason)
    return None


def _forget(runner: Runner) -> None:
    with _making:
        _voices.pop(runner, None)


catalog.on_close.append(_forget)


def _make(runner: Runner) -> Voice | NoVoice:
    try:
        return _build(runner)
    except NoVoice as error:
        return error
    except SpeechError:
        return NoVoice(_("The speech of this site is not set up: its owner can see why in the log."))


def _build(runner: Runner) -> Voice:
    kinds: set[VoiceKind] = set()
    root = _speaking(runner.agent, kinds, prefers_cascade=False)
    if len(kinds) > 1 and settings.LIVE_STT and settings.LIVE_TTS:
        kinds.clear()
        root = _speaking(runner.agent, kinds, prefers_cascade=True)
    if len(kinds) > 1:
        raise NoVoice(_("The models of its agents speak in different ways."))
    plugins = [*runner.app.plugins, CallTools(name="parley_call_tools")]
    app = runner.app.model_copy(update={"root_agent": root, "plugins": plugins})
    live = Runner(
        app=app,
        session_service=live_session_service,
        artifact_service=runner.artifact_service,
        memory_service=runner.memory_service,
        credential_service=runner.credential_service,
    )
    return Voice(live, runner, kinds.pop())


def _speaking(agent: Any, kinds: set[VoiceKind], *, prefers_cascade: bool) -> LlmAgent:
    """Return a copy of an agent and its sub-agents whose models speak. Raises NoVoice."""
    if not isinstance(agent, LlmAgent):
        # ADK runs no workflow, no loop and no parallel agents in a call, and nothing over A2A.
        sentence = _("In a call, ADK runs agents with a model only, and {name} is a {kind}.")
        raise NoVoice(format_lazy(sentence, name=agent.name, kind=type(agent).__name__))
    model, kind = _speaking_model(agent.canonical_model, prefers_cascade=prefers_cascade)
    kinds.add(kind)
    inner = [_speaking(each, kinds, prefers_cascade=prefers_cascade) for each in agent.sub_agents]
    return agent.clone(update={"model": model, "sub_agents": inner})


def _speaking_model(model: BaseLlm, *, prefers_cascade: bool) -> tuple[BaseLlm, VoiceKind]:
    if isinstance(model, CascadeLive) and type(model).connect is CascadeLive.connect:
        return HeardCascade(
            model=_with_account(model._resolve_llm()), stt=model.stt, tts=model.tts
        ), "cascade"
    if _is_live(model):
        return with_own_wire(model), "native"
    if isinstance(model, MisconfiguredModel):
        raise NoVoice(model.reason)
    if isinstance(model, Gemini) and not prefers_cascade and (name := _live_model_for(model)):
        return with_own_wire(model.model_copy(update={"model": name})), "native"
    if settings.LIVE_STT and settings.LIVE_TTS:
        return HeardCascade(model=model, stt=speech_to_text(), tts=text_to_speech()), "cascade"
    if isinstance(model, DemoModel):
        spoken = model.model_copy(update={"speaks": True})
        return HeardCascade(model=spoken, stt=DemoEars(), tts=DemoVoice()), "demo"
    sentence = _("Its model {model} does not speak. The site's owner can set LIVE_STT and LIVE_TTS for it.")
    raise NoVoice(format_lazy(sentence, model=model.model))


def _is_live(model: BaseLlm) -> bool:
    """Return whether the model itself speaks: Gemini by its name, another one by its own ``connect``."""
    if isinstance(model, Gemini):
        return any(name in model.model for name in LIVE_NAMES)
    return type(model).connect is not BaseLlm.connect


def _live_model_for(model: Gemini) -> str:
    if settings.LIVE_MODEL is not None:
        return str(settings.LIVE_MODEL)
    account = model.client_kwargs or {}
    is_vertex = account.get("enterprise") or account.get("vertexai")
    return VERTEX_LIVE_MODEL if is_vertex else LIVE_MODEL


def _with_account(model: BaseLlm) -> BaseLlm:
    """Return the model with Parley's account, unless it has options of its own."""
    if not isinstance(model, Gemini) or model.client_kwargs or model.client or model.base_url:
        return model
    account = gemini.own_account()
    return gemini.with_account(model, account) if account else model


# --- LIVE_STT and LIVE_TTS ----------------------------------------------------------------------


def speech_to_text() -> LiveIngress:
    """Return a new LiveIngress of LIVE_STT. Raises SpeechError."""
    found: LiveIngress = _load("LIVE_STT", LiveIngress)
    return found


def text_to_speech() -> LiveEgress:
    """Return a new LiveEgress of LIVE_TTS. Raises SpeechError."""
    found: LiveEgress = _load("LIVE_TTS", LiveEgress)
    return found


def _load(setting: str, kind: type[Any]) -> Any:
    name = getattr(settings, setting)
    if settings.AGENTS_DIR:
        use_folder(settings.AGENTS_DIR)
    try:
        make: Callable[[], Any] = import_string(name)
        found = make()
    # The owner's code is imported and called here, and may raise anything.
    except Exception as error:
        raise SpeechError(f"{setting}: {name!r} cannot be used ({type(error).__name__}).") from error
    if not isinstance(found, kind):
        raise SpeechError(f"{setting}: {name!r} makes no {kind.__name__} of google.adk.live.")
    if isinstance(llm := getattr(found, "_llm", None), Gemini):  # ADK's own GeminiSTT and GeminiTTS
        found._llm = _with_account(llm)
    return found


def check_speech() -> list[str]:
    """Return what is wrong with LIVE_STT and LIVE_TTS, each as a sentence."""
    found = []
    for setting, other, load in (
        ("LIVE_STT", "LIVE_TTS", speech_to_text),
        ("LIVE_TTS", "LIVE_STT", text_to_speech),
    ):
        if not getattr(settings, setting):
            if getattr(settings, other):
                found.append(f"{other} is set, and {setting} is not: a call needs both.")
            continue
        try:
            load()
        except SpeechError as error:
            found.append(str(error))
    return found
