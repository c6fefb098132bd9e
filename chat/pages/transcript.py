"""A branch as a page shows it: each message with its speaker, its steps, and how its run ended."""

import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby, zip_longest
from typing import Any

from chat import endings
from chat.events import Fold, tools_called
from chat.log import read_log
from chat.models import Message, Run
from chat.rendering import RENDERER_VERSION
from chat.rendering.process import render_in_time, render_unfinished_in_time

CUT_OFF = {"max_tokens", "length"}
SHOWN_OUTCOME = 2000  # characters of what a tool answered; the rest is folded away


@dataclass(frozen=True, slots=True)
class Step:
    """What the agent did besides writing: a thought, a tool call (``tool`` is its name), or a saved file
    (``file`` is its name, ``version`` its number, and ``note`` how long it is kept).

    ``args`` and ``outcome`` are JSON as a person reads it, the latter empty while the tool works;
    ``rest`` is what is left of a long outcome. ``call`` is the id of the tool's call.
    """

    text: str = ""
    tool: str = ""
    call: str = ""
    args: str = ""
    outcome: str = ""
    rest: str = ""
    failed: bool = False
    unanswered: bool = False  # the reply is over, and the call has no outcome
    seconds: float | None = None
    file: str = ""
    version: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Speech:
    """What one of several agents did and said before the next one went on."""

    speaker: str
    steps: list[Step]
    html: str


@dataclass(slots=True)
class Turn:
    """A message, as a page shows it.

    ``speeches`` are there where several agents wrote it, one after the other. ``waits``: a tool call of
    it waits for a person. ``ending`` is the sentence about a run that did not complete, ``broken`` that
    run unless the person stopped it. ``again`` says how its prompt can be answered once more:
    ``regenerate``, ``retry``, or not (empty); ``called`` names the tools that may do the same again then.
    """

    message: Message
    speaker: str
    steps: list[Step] = field(default_factory=list)
    speeches: list[Speech] = field(default_factory=list)
    ending: str = ""
    broken: Run | None = None
    cut_off: bool = False
    waits: bool = False
    again: str = ""
    called: list[str] = field(default_factory=list)

    @property
    def html(self) -> str:
        """The reply's text as safe HTML."""
        message = self.message
        if message.renderer_version == RENDERER_VERSION:
            return message.html
        # Another renderer wrote it: a fault that was mended is mended for old replies, too.
        return render_in_time(message.text)

    @property
    def prompt(self) -> uuid.UUID | None:
        is_reply = self.message.role == Message.Role.ASSISTANT
        return self.message.parent_id if is_reply else self.message.pk


@dataclass(frozen=True, slots=True)
class Live:
    """The reply that is being written, as far as it is stored: up to the event ``seq``."""

    run: uuid.UUID
    seq: int
    speaker: str
    html: str
    steps: list[Step]
    thinking: bool  # the last step is a thought that may go on


def turns(branch: Sequence[Message], live: Run | None = None, *, may_ask: bool) -> list[Turn]:
    """The messages of a branch for a page; where ``may_ask``, its last one can be answered again.

    ``live`` is the run that is shown as one that goes on, though it may have ended by now.
    """
    shown = [_turn(message) for message in branch]
    unanswered = {prompt: run for prompt, run in _runs_of_unanswered(branch).items() if run != live}
    for turn in shown:
        run = unanswered.get(turn.message.pk) or turn.message.run
        if run and not run.is_active:
            turn.ending = endings.explain(run.status, run.code)["detail"] or ""
            turn.broken = run if run.status in (Run.Status.FAILED, Run.Status.EXPIRED) else None
            turn.cut_off = run.status == Run.Status.COMPLETED and run.finish in CUT_OFF
            turn.waits = turn is shown[-1] and run.finish == endings.APPROVAL
    if shown and may_ask:
        last = shown[-1]
        last.again = _again(unanswered.get(last.message.pk) or last.message.run)
        last.called = _called(last.prompt) if last.again else []
    return shown


def live(run: Run) -> Live:
    """The active run's reply so far: what any screen has shown of it."""
    rows = list(read_log(run.pk))
    fold = Fold(row.event() for row in rows)
    items = fold.items
    return Live(
        run=run.pk,
        seq=rows[-1].seq,
        speaker=spoken(fold.agent or run.conversation.agent),
        html=render_unfinished_in_time(fold.text),
        steps=_steps(items, over=False),
        thinking=bool(items) and items[-1]["type"] == "thought",
    )


@dataclass(frozen=True, slots=True)
class Choice:
    """An agent in the picker. ``about`` is its description, or why it is not available."""

    name: str
    speaker: str
    about: str
    available: bool


def choices(agents: Iterable[Any]) -> list[Choice]:
    """The agents of the catalog as they are picked from."""
    return [Choice(a.name, spoken(a.name), a.reason or a.description, a.available) for a in agents]


def spoken(agent: str) -> str:
    """An agent's name as a heading: ``chat_assistant`` speaks as "Chat assistant"."""
    words = agent.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def _turn(message: Message) -> Turn:
    if message.role == Message.Role.USER:
        return Turn(message, speaker="")
    items = message.parts.get("items", [])
    return Turn(message, spoken(message.agent), _steps(items, over=True), _speeches(items))


def _speeches(items: Iterable[dict[str, Any]]) -> list[Speech]:
    """Empty where one agent wrote all: the message's own HTML is at hand then. Else each one's text
    is rendered by itself, so that one's open code block does not swallow the next one's words.
    """
    parts = [(agent, list(own)) for agent, own in groupby(items, lambda item: item.get("agent", ""))]
    if len(parts) < 2:
        return []
    return [
        Speech(spoken(agent), _steps(own, over=True), render_in_time(_text(own)) if _text(own) else "")
        for agent, own in parts
    ]


def _text(items: Iterable[dict[str, Any]]) -> str:
    return "".join(item["text"] for item in items if item["type"] == "text").strip("\n")


def _runs_of_unanswered(branch: Sequence[Message]) -> dict[uuid.UUID, Run]:
    """The newest run of each prompt that no reply follows."""
    prompts = [
        message.pk
        for message, follower in zip_longest(branch, branch[1:])
        if message.role == Message.Role.USER and (not follower or follower.role == Message.Role.USER)
    ]
    if not prompts:
        return {}
    return {run.prompt_id: run for run in Run.objects.filter(prompt__in=prompts).order_by("created_at", "id")}


def _again(run: Run | None) -> str:
    if run is None or run.is_active:
        return ""
    if run.status == Run.Status.COMPLETED:
        return "regenerate"
    return "retry" if endings.explain(run.status, run.code)["retryable"] else ""


def _called(prompt: uuid.UUID | None) -> list[str]:
    """Return the tools that any reply to the prompt called: an earlier version's actions happened, too."""
    replies = Message.objects.filter(parent=prompt, role=Message.Role.ASSISTANT).order_by("created_at", "id")
    parts = replies.values_list("parts", flat=True)
    return tools_called(item for each in parts for item in each.get("items", []))


def _steps(items: Iterable[dict[str, Any]], *, over: bool) -> list[Step]:
    steps = []
    for item in items:
        if item["type"] == "thought":
            steps.append(Step(text=item["text"]))
        elif item["type"] == "tool":
            steps.append(_tool(item, over=over))
        elif item["type"] == "file":
            steps.append(Step(file=item["name"], version=item["version"], note=item["note"]))
    return steps


def _tool(item: dict[str, Any], *, over: bool) -> Step:
    failed = "error" in item
    outcome = item["error"] if failed else _readable(item["result"]) if "result" in item else ""
    elapsed = item.get("elapsed_ms")
    return Step(
        tool=item["name"],
        call=item["id"],
        args=_readable(item.get("args", {})),
        outcome=outcome[:SHOWN_OUTCOME],
        rest=outcome[SHOWN_OUTCOME:],
        failed=failed,
        unanswered=over and not failed and "result" not in item,
        seconds=None if elapsed is None else elapsed / 1000,
    )


def _readable(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
