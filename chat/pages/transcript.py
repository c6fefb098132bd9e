"""Messages of a branch as a page shows them: speaker, steps, HTML, and how the run ended."""

import json
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import zip_longest
from typing import Any

from django.utils.translation import gettext as _

from accounts.statements import Statement
from chat import endings
from chat.agent.agents import catalog
from chat.agent.agents.catalog import AgentInfo
from chat.agent.live.voices import reason_without_voice
from chat.events import (
    CODE_TOOL,
    HEARD,
    REPLACE,
    REQUESTS,
    Fold,
    has_stored_file,
    kilobytes,
    sources_of,
    tools_called,
)
from chat.log import read_log
from chat.models import Message, PersonRequest, Run, new_id
from chat.moderated import label_of
from chat.pages.cards import RequestCard
from chat.pages.file_cards import FileCard, ReplyPiece, cards_of, cut_at_files
from chat.pages.outcomes import RequestOutcome, outcome_of, requests_of
from chat.rendering import RENDERER_VERSION
from chat.rendering.renderer import render_in_time, render_reply_in_time, render_unfinished_in_time

CUT_OFF = {"max_tokens", "length"}
REMEMBERED_THOUGHTS = 512  # at most 10 KB each, as a rule
SHOWN_OUTCOME = 2000  # characters of a tool's result; the rest is folded
# A question with more lines, or as many characters as these lines hold, is folded.
FOLD_LINES = 15
FOLD_CHARACTERS = FOLD_LINES * 80


@dataclass(frozen=True, slots=True)
class Step:
    """Thought, tool call or saved file in a reply."""

    html: str = ""  # sanitized, of a thought
    tool: str = ""  # name of the called tool
    call: str = ""  # id of the call
    args: str = ""  # indented JSON
    outcome: str = ""  # text, or indented JSON; empty while the tool runs
    rest: str = ""  # of an outcome longer than SHOWN_OUTCOME
    args_kilobytes: int | None = None  # of the whole, if the log has only the beginning
    kilobytes: int | None = None  # the same of the outcome
    # of a call: "working", "done", "failed", "asks" for an approval, or "unanswered" when the reply has ended
    state: str = ""
    seconds: float | None = None
    file: str = ""  # name of the saved file
    is_card: bool = False  # the member's pages show that file as a card
    version: int | None = None
    note: str = ""  # how long the file is kept, or why the agent failed
    node: str = ""  # name of a workflow's node that is done
    failed: str = ""  # name of an agent that failed beside others


@dataclass(frozen=True, slots=True)
class AgentSection:
    """Part of a reply by one agent, if several agents wrote the reply or a model ran code."""

    speaker: str  # empty if it is that of the section before, or if there is one agent
    steps: list[Step]
    html: str
    pieces: list[ReplyPiece]  # the HTML, cut at the files


@dataclass(frozen=True, slots=True)
class Pager:
    """Place of a message among its versions. A version is named by the message that chooses its branch."""

    versions: list[
        uuid.UUID
    ]  # stored siblings, oldest first; the prompt itself for an answer without a reply
    number: int  # of the shown one, from 1

    @property
    def total(self) -> int:
        return len(self.versions)

    @property
    def previous(self) -> uuid.UUID | None:
        return self.versions[self.number - 2] if self.number > 1 else None

    @property
    def following(self) -> uuid.UUID | None:
        return self.versions[self.number] if self.number < self.total else None


@dataclass(slots=True)
class PageMessage:
    """Message, as a page shows it."""

    message: Message
    speaker: str
    pager: Pager | None = None  # None without other versions
    steps: list[Step] = field(default_factory=list)
    sections: list[AgentSection] = field(default_factory=list)  # empty if one agent wrote all of it
    files: list[FileCard] = field(default_factory=list)  # of a question
    ending: str = ""  # sentence about a run that did not complete
    broken: Run | None = None  # the run, if it failed or expired
    cut_off: bool = False  # the model reached its limit of tokens
    waits: bool = False  # a tool call waits for an approval
    requests: list[RequestCard] = field(default_factory=list)  # that its reader can decide now
    held: list[RequestCard] = field(default_factory=list)  # that others can decide now
    outcomes: list[RequestOutcome] = field(default_factory=list)  # of the others that it asked
    in_doubt: list[RequestOutcome] = field(default_factory=list)  # calls that its run may have made
    offers_question: bool = False  # about those
    is_answer: bool = False  # a person's decision about requests, not a question
    decided_by: list[str] = field(default_factory=list)  # names of users
    again: str = ""  # the offer to answer its prompt again: "regenerate" or "retry"; "" is no offer
    called: list[str] = field(default_factory=list)  # tools whose actions that may repeat
    restarted: bool = False  # the server restarted, and the reply began again
    attempt_pager: Pager | None = None  # of a failed run after the replies to this prompt
    moderated: bool = False  # a moderator stopped the run
    interrupted: bool = False  # the member heard only the beginning of a spoken answer
    heard: str = ""  # what the member of a call has said so far, until the text is stored

    @property
    def answer_key(self) -> uuid.UUID:
        """A new idempotency key for the decisions."""
        return new_id()

    @property
    def has_confirmation(self) -> bool:
        return any(card.request.kind == PersonRequest.Kind.CONFIRM for card in self.requests)

    @property
    def says(self) -> str:
        """The announcement to a screen reader when the requests are there."""
        asks = " ".join(card.question for card in self.requests)
        return _("The agent waits for you. %(asks)s Ctrl+Period goes there.") % {"asks": asks}

    @property
    def doubtful_tools(self) -> str:
        return ", ".join(outcome.name for outcome in self.in_doubt)

    @property
    def hidden_reason(self) -> str:
        """The sentence of the reason for which a moderator has hidden it."""
        return label_of(self.message.hidden_reason)

    @property
    def html(self) -> str:
        """Sanitized HTML of the text."""
        message = self.message
        if message.renderer_version == RENDERER_VERSION:
            return message.html
        # Rendered by another version: render again, so that fixes of the renderer apply to old replies.
        return render_reply_in_time(message.text, self.sources)

    @property
    def pieces(self) -> list[ReplyPiece]:
        """The HTML of a reply, cut at its files."""
        return cut_at_files(self.html, self.message.parts.get("items", []))

    @property
    def sources(self) -> dict[str, Any] | None:
        return sources_of(self.message.parts.get("items", []))

    @property
    def text(self) -> str:
        return self.message.text or self.heard

    @property
    def is_long(self) -> bool:
        text = self.text
        return text.count("\n") >= FOLD_LINES or len(text) > FOLD_CHARACTERS

    @property
    def seconds(self) -> float | None:
        """Duration of the run that wrote it."""
        run = self.message.run
        return run.duration_ms / 1000 if run and run.duration_ms is not None else None

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
    pieces: list[ReplyPiece]
    steps: list[Step]
    sources: dict[str, Any] | None
    thinking: bool  # the last step is a thought, which may grow
    heard: str  # what the member of a call has said so far; empty for a written question
    hearing: bool  # and is still saying
    pager: Pager | None
    restarted: bool  # the server restarted, and the reply began again


def page_messages(
    branch: Sequence[Message],
    live: Run | None = None,
    *,
    may_ask: bool,
    is_end: bool = True,
    requests: Mapping[uuid.UUID, list[RequestCard]] | None = None,
) -> list[PageMessage]:
    """Return the messages of a branch. With ``may_ask``, its prompts can be answered again.

    ``live`` is the run that the page shows as active, though it may have ended since it was read. Without
    ``is_end``, the branch goes on after these messages. ``requests`` are the open ones, by their reply.
    """
    siblings = Message.objects.siblings_of(branch)
    unanswered = {prompt: run for prompt, run in _runs_of_unanswered(branch).items() if run != live}
    asked: dict[uuid.UUID | None, list[PersonRequest]] = {}
    answered: dict[uuid.UUID | None, list[PersonRequest]] = {}
    for request in requests_of(branch, unanswered.values()):
        asked.setdefault(request.run_id, []).append(request)
        answered.setdefault(request.answered_by_id, []).append(request)
    shown = [
        _page_message(
            message,
            _pager(message, siblings[message.parent_id], live),
            {request.call for request in asked.get(message.run_id, []) if not request.is_job},
        )
        for message in branch
    ]
    # Neither a decision nor a hidden question is asked again.
    answers = {each.message.pk for each in shown if each.is_answer or each.message.hidden_at}
    for each in shown:
        if each.message.hidden_at and each.message.role == Message.Role.ASSISTANT:
            continue  # nothing of its run is shown
        run = unanswered.get(each.message.pk) or each.message.run
        if run and not run.is_active:
            each.ending = endings.explain(run.status, run.code)["detail"] or ""
            each.broken = run if run.status in (Run.Status.FAILED, Run.Status.EXPIRED) else None
            each.restarted = run.attempt > 1 and each.pager is not None and run.status != Run.Status.EXPIRED
            each.moderated = run.code == endings.MODERATED
            each.interrupted = run.code == endings.INTERRUPTED
            each.cut_off = run.status == Run.Status.COMPLETED and run.finish in CUT_OFF
            each.waits = each is shown[-1] and run.finish == endings.APPROVAL
        is_last = is_end and each is shown[-1]
        open_cards = (requests or {}).get(each.message.pk, [])
        each.requests = [card for card in open_cards if not card.request.approvers]
        each.held = [card for card in open_cards if card.request.approvers]
        open_now = [card.request.pk for card in open_cards]
        if each.message.role == Message.Role.ASSISTANT:
            found = [outcome_of(r, open_now, is_end=is_last) for r in asked.get(each.message.run_id, [])]
            each.outcomes = [outcome for outcome in found if outcome]
        if run and each.broken and not each.message.hidden_at:
            decided = [outcome_of(r, [], is_end=is_last) for r in answered.get(run.pk, [])]
            each.in_doubt = [outcome for outcome in decided if outcome and outcome.state == "in_doubt"]
            each.offers_question = may_ask and is_last
        is_question = each.prompt not in answers
        is_reply = each.message.role == Message.Role.ASSISTANT
        if may_ask and run and is_question and (is_reply or is_last):
            # An interrupted answer is no failure: it is answered again as a whole one is.
            each.again = _again(run, is_last=is_last and not (each.interrupted and is_reply))
        if is_last and each.message.pk in unanswered:
            each.attempt_pager = attempt_pager(each.message.pk)
    called = _called([each.prompt for each in shown if each.again and each.prompt])
    for each in shown:
        each.called = called.get(each.prompt, []) if each.again else []
    return shown


def attempt_pager(prompt: uuid.UUID | None) -> Pager | None:
    """Return the pager of an answer without a reply, active or failed, after the replies to its prompt."""
    replies = Message.objects.filter(parent=prompt).order_by("created_at", "id").values_list("pk", flat=True)
    versions = [*replies, prompt] if prompt else []
    return Pager(versions, len(versions)) if len(versions) > 1 else None


def _pager(message: Message, siblings: list[uuid.UUID], live: Run | None) -> Pager | None:
    prompt = message.parent_id
    versions = [*siblings, prompt] if prompt and live and live.prompt_id == prompt else siblings
    return Pager(versions, versions.index(message.pk) + 1) if len(versions) > 1 else None


def live_reply(run: Run) -> LiveReply:
    """Return the reply of an active run as far as it is stored. Readers of its stream have seen no more."""
    rows = list(read_log(run.pk))
    fold = Fold(row.event() for row in rows)
    items = fold.items
    heard = next((row.event().data for row in reversed(rows) if row.type == HEARD), None)
    hearing = run.mode == Run.Mode.LIVE and not items and not (heard and heard["final"])
    html = render_unfinished_in_time(fold.text)
    return LiveReply(
        run=run.pk,
        seq=rows[-1].seq,
        speaker=display_name(fold.agent or run.conversation.agent),
        html=html,
        pieces=cut_at_files(html, items),
        steps=_steps(items, ended=False),
        sources=fold.sources,
        thinking=bool(items) and items[-1]["type"] == "thought",
        heard=heard["text"] if heard else "",
        hearing=hearing and not run.prompt.text,
        pager=attempt_pager(run.prompt_id),
        restarted=any("kept" in row.event().data for row in rows if row.type == REPLACE),
    )


@dataclass(frozen=True, slots=True)
class AgentChoice:
    """Agent in the list to choose from."""

    name: str
    speaker: str
    about: str  # its description, or why it is not available
    available: bool
    no_voice: str  # why nobody can speak with it; empty if it can speak


def agent_choices(agents: Iterable[AgentInfo]) -> list[AgentChoice]:
    return [
        AgentChoice(
            each.name,
            display_name(each.name),
            _about(each),
            each.available,
            reason_without_voice(each.name) or "",
        )
        for each in agents
    ]


def _about(agent: AgentInfo) -> str:
    if catalog.is_demo(agent.name):
        return _("The demo model: it shows how answers look, without a language model behind it.")
    return agent.reason or agent.description


def display_name(agent: str) -> str:
    """Return an agent's name as a heading: "Chat assistant" for ``chat_assistant``."""
    words = agent.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def _page_message(message: Message, pager: Pager | None, asks: set[str]) -> PageMessage:
    items = [] if message.hidden_at else message.parts.get("items", [])
    if message.role == Message.Role.USER:
        decisions = [item for item in items if item["type"] == "approval"]
        names = list(dict.fromkeys(item["by"] for item in decisions))
        return PageMessage(
            message, "", pager, files=cards_of(items), is_answer=bool(decisions), decided_by=names
        )
    steps, sections = _steps(items, asks, ended=True), _sections(items, asks)
    return PageMessage(message, display_name(message.agent), pager, steps, sections)


def _sections(items: Iterable[dict[str, Any]], asks: set[str]) -> list[AgentSection]:
    """Return a section for each agent in turn, and for code that a model ran between two texts.

    Returns none for a reply without such a change: its steps are before its text.
    """
    items = list(items)
    sources = sources_of(items)
    parts: list[list[dict[str, Any]]] = []
    for item in items:
        if item is sources:
            continue
        previous = parts[-1] if parts else []
        is_code = item["type"] == "tool" and item["name"] == CODE_TOOL
        follows_text = is_code and any(each["type"] == "text" for each in previous)
        if not previous or previous[0].get("agent", "") != item.get("agent", "") or follows_text:
            parts.append([item])
        else:
            previous.append(item)
    if len(parts) < 2:
        return []
    # Each text is rendered separately: an open code block of one agent must not contain the next one's text.
    found: list[AgentSection] = []
    at, speaker = 0, None
    several = len({own[0].get("agent", "") for own in parts}) > 1
    for own in parts:
        agent = own[0].get("agent", "")
        whole = "".join(item["text"] for item in own if item["type"] == "text")
        text = whole.strip("\n")
        start = at + len(whole) - len(whole.lstrip("\n"))
        at += len(whole)
        html = render_reply_in_time(text, sources and _sources_from(sources, start)) if text else ""
        heading = display_name(agent) if several and agent != speaker else ""
        found.append(AgentSection(heading, _steps(own, asks, ended=True), html, cut_at_files(html, own)))
        speaker = agent
    return found


def _sources_from(sources: dict[str, Any], start: int) -> dict[str, Any]:
    """Return the sources for the text that begins at code point ``start`` of the reply."""
    moved = [
        {**span, "start": span["start"] - start, "end": span["end"] - start} for span in sources["spans"]
    ]
    return {**sources, "spans": moved}


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


def _again(run: Run, *, is_last: bool) -> str:
    if run.is_active:
        return ""
    if run.status == Run.Status.COMPLETED:
        return "regenerate"
    again = "retry" if is_last else "regenerate"
    return again if endings.explain(run.status, run.code)["retryable"] else ""


def _called(prompts: Sequence[uuid.UUID]) -> dict[uuid.UUID | None, list[str]]:
    """Return the tools that the replies to each prompt called, all versions of the reply included."""
    items: dict[uuid.UUID | None, list[dict[str, Any]]] = {}
    for prompt, parts in _replies.all(list(prompts)):
        items.setdefault(prompt, []).extend(parts.get("items", []))
    return {prompt: tools_called(found) for prompt, found in items.items()}


_replies = Statement(
    lambda prompts: (
        Message.objects.filter(parent__in=prompts, role=Message.Role.ASSISTANT)
        .order_by("created_at", "id")
        .values_list("parent_id", "parts")
    )
)


def _steps(items: Iterable[dict[str, Any]], asks: Collection[str] = (), *, ended: bool) -> list[Step]:
    """Return the steps of a reply. ``asks`` are the calls that wait, or waited, for a person."""
    steps = []
    items = list(items)
    asking = [item for item in items if item["type"] == "tool" and item["name"] in REQUESTS]
    originals = [item.get("args", {}).get("originalFunctionCall") or {} for item in asking]
    asks = {*asks, *(call["id"] for call in originals if "id" in call)}
    for item in items:
        if item["type"] == "thought":
            steps.append(Step(html=_thought_html(item["text"])))
        elif item["type"] == "tool" and item["name"] not in REQUESTS:
            steps.append(_tool_step(item, state="asks" if item["id"] in asks else _state(item, ended=ended)))
        elif item["type"] == "step":
            outcome = _readable(item["output"]) if "output" in item else ""
            steps.append(
                Step(
                    node=item["name"],
                    outcome=outcome[:SHOWN_OUTCOME],
                    rest=outcome[SHOWN_OUTCOME:],
                    kilobytes=kilobytes(item.get("size")),
                )
            )
        elif item["type"] == "failed":
            steps.append(Step(failed=display_name(item["name"]), note=item["detail"]))
        elif item["type"] == "file":
            note, version = item.get("note", ""), item.get("version")
            steps.append(Step(file=item["name"], is_card=has_stored_file(item), version=version, note=note))
    return steps


@lru_cache(REMEMBERED_THOUGHTS)
def _thought_html(text: str) -> str:
    """Return a thought's HTML, which is not stored: a page shows the same ones again and again."""
    return render_in_time(text)


def _tool_step(item: dict[str, Any], *, state: str) -> Step:
    outcome = item["error"] if "error" in item else _readable(item["result"]) if "result" in item else ""
    if state == "asks":
        outcome = ""  # of the call so far: that it waits
    elapsed = item.get("elapsed_ms")
    return Step(
        tool=item["name"],
        call=item["id"],
        args=_readable(item.get("args", {})),
        outcome=outcome[:SHOWN_OUTCOME],
        rest=outcome[SHOWN_OUTCOME:],
        state=state,
        seconds=None if elapsed is None else elapsed / 1000,
        args_kilobytes=kilobytes(item.get("args_size")),
        kilobytes=kilobytes(item.get("size")),
    )


def _state(item: dict[str, Any], *, ended: bool) -> str:
    if "error" in item:
        return "failed"
    if "result" in item:
        return "done"
    return "unanswered" if ended else "working"


def _readable(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
