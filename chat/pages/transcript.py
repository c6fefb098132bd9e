"""Messages of a branch as a page shows them: speaker, steps, HTML, and how the run ended."""

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
from chat.rendering.renderer import render_in_time, render_unfinished_in_time

CUT_OFF = {"max_tokens", "length"}
SHOWN_OUTCOME = 2000  # characters of a tool's result; the rest is folded


@dataclass(frozen=True, slots=True)
class Step:
    """Thought, tool call or saved file in a reply."""

    text: str = ""  # of a thought
    tool: str = ""  # name of the called tool
    call: str = ""  # id of the call
    args: str = ""  # indented JSON
    outcome: str = ""  # text, or indented JSON; empty while the tool runs
    rest: str = ""  # of an outcome longer than SHOWN_OUTCOME
    failed: bool = False
    unanswered: bool = False  # the reply has ended, and the call has no outcome
    seconds: float | None = None
    file: str = ""  # name of the saved file
    version: int | None = None
    note: str = ""  # how long the file is kept


@dataclass(frozen=True, slots=True)
class AgentSection:
    """Part of a reply by one agent, if several agents wrote the reply."""

    speaker: str
    steps: list[Step]
    html: str


@dataclass(slots=True)
class PageMessage:
    """Message, as a page shows it."""

    message: Message
    speaker: str
    steps: list[Step] = field(default_factory=list)
    sections: list[AgentSection] = field(default_factory=list)  # empty if one agent wrote all of it
    ending: str = ""  # sentence about a run that did not complete
    broken: Run | None = None  # the run, if it failed or expired
    cut_off: bool = False  # the model reached its limit of tokens
    waits: bool = False  # a tool call waits for an approval
    again: str = ""  # the offer to answer its prompt again: "regenerate" or "retry"; "" is no offer
    called: list[str] = field(default_factory=list)  # tools whose actions that may repeat

    @property
    def html(self) -> str:
        """Sanitized HTML of the text."""
        message = self.message
        if message.renderer_version == RENDERER_VERSION:
            return message.html
        # Rendered by another version: render again, so that fixes of the renderer apply to old replies.
        return render_in_time(message.text)

    @property
    def prompt(self) -> uuid.UUID | None:
        is_reply = self.message.role == Message.Role.ASSISTANT
        return self.message.parent_id if is_reply else self.message.pk


@dataclass(frozen=True, slots=True)
class LiveReply:
    """Reply of an active run up to its last stored event."""

    run: uuid.UUID
    seq: int  # of the last event
    speaker: str
    html: str
    steps: list[Step]
    thinking: bool  # the last step is a thought, which may grow


def page_messages(branch: Sequence[Message], live: Run | None = None, *, may_ask: bool) -> list[PageMessage]:
    """Return the messages of a branch. With ``may_ask``, its last prompt can be answered again.

    ``live`` is the run that the page shows as active, though it may have ended since it was read.
    """
    shown = [_page_message(message) for message in branch]
    unanswered = {prompt: run for prompt, run in _runs_of_unanswered(branch).items() if run != live}
    for each in shown:
        run = unanswered.get(each.message.pk) or each.message.run
        if run and not run.is_active:
            each.ending = endings.explain(run.status, run.code)["detail"] or ""
            each.broken = run if run.status in (Run.Status.FAILED, Run.Status.EXPIRED) else None
            each.cut_off = run.status == Run.Status.COMPLETED and run.finish in CUT_OFF
            each.waits = each is shown[-1] and run.finish == endings.APPROVAL
    if shown and may_ask:
        last = shown[-1]
        last.again = _again(unanswered.get(last.message.pk) or last.message.run)
        last.called = _called(last.prompt) if last.again else []
    return shown


def live_reply(run: Run) -> LiveReply:
    """Return the reply of an active run as far as it is stored. Readers of its stream have seen no more."""
    rows = list(read_log(run.pk))
    fold = Fold(row.event() for row in rows)
    items = fold.items
    return LiveReply(
        run=run.pk,
        seq=rows[-1].seq,
        speaker=display_name(fold.agent or run.conversation.agent),
        html=render_unfinished_in_time(fold.text),
        steps=_steps(items, ended=False),
        thinking=bool(items) and items[-1]["type"] == "thought",
    )


@dataclass(frozen=True, slots=True)
class AgentChoice:
    """Agent in the list to choose from."""

    name: str
    speaker: str
    about: str  # its description, or why it is not available
    available: bool


def agent_choices(agents: Iterable[Any]) -> list[AgentChoice]:
    return [AgentChoice(a.name, display_name(a.name), a.reason or a.description, a.available) for a in agents]


def display_name(agent: str) -> str:
    """Return an agent's name as a heading: "Chat assistant" for ``chat_assistant``."""
    words = agent.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def _page_message(message: Message) -> PageMessage:
    if message.role == Message.Role.USER:
        return PageMessage(message, speaker="")
    items = message.parts.get("items", [])
    return PageMessage(message, display_name(message.agent), _steps(items, ended=True), _sections(items))


def _sections(items: Iterable[dict[str, Any]]) -> list[AgentSection]:
    """Return a section for each agent in turn; none if one agent wrote everything."""
    parts = [(agent, list(own)) for agent, own in groupby(items, lambda item: item.get("agent", ""))]
    if len(parts) < 2:
        return []
    # Each text is rendered separately: an open code block of one agent must not contain the next one's text.
    return [
        AgentSection(
            display_name(agent), _steps(own, ended=True), render_in_time(_text(own)) if _text(own) else ""
        )
        for agent, own in parts
    ]


def _text(items: Iterable[dict[str, Any]]) -> str:
    return "".join(item["text"] for item in items if item["type"] == "text").strip("\n")


def _runs_of_unanswered(branch: Sequence[Message]) -> dict[uuid.UUID, Run]:
    """Return the newest run of each prompt without a reply in the branch."""
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
    """Return the tools that the replies to a prompt called, earlier versions of the reply included."""
    replies = Message.objects.filter(parent=prompt, role=Message.Role.ASSISTANT).order_by("created_at", "id")
    parts = replies.values_list("parts", flat=True)
    return tools_called(item for each in parts for item in each.get("items", []))


def _steps(items: Iterable[dict[str, Any]], *, ended: bool) -> list[Step]:
    steps = []
    for item in items:
        if item["type"] == "thought":
            steps.append(Step(text=item["text"]))
        elif item["type"] == "tool":
            steps.append(_tool_step(item, ended=ended))
        elif item["type"] == "file":
            steps.append(Step(file=item["name"], version=item["version"], note=item["note"]))
    return steps


def _tool_step(item: dict[str, Any], *, ended: bool) -> Step:
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
        unanswered=ended and not failed and "result" not in item,
        seconds=None if elapsed is None else elapsed / 1000,
    )


def _readable(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
