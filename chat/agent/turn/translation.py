"""ADK's events of one reply, translated into Parley's events.

ADK sends each model call as fragments (``partial``) and then as one whole event, which is authoritative:

    ADK's event                             Parley's events
    fragment                                its text, thought or code, immediately
    whole, same text as its fragments       pieces that no fragment had, and tool calls and results
    whole, other text than its fragments    ``replace``, then as above
    whole, no fragments before it           all of it
    whole, with state only                  none: later text still belongs to the same model call
    whole, output of ADK's root node        the output, if the event has no content
"""

import time
import uuid
from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass, field

from google.adk.events import Event as AdkEvent
from google.adk.workflow import BaseNode, Workflow
from google.genai import types

from chat import endings, events
from chat.agent.memory import run_files
from chat.agent.memory.file_parts import blobs_in
from chat.agent.memory.run_files import RunFiles
from chat.agent.memory.session_data import SessionData
from chat.agent.turn import deadlines, failure_codes, parts
from chat.agent.turn.reply_text import ReplyText
from chat.agent.turn.sources import ReplySources
from chat.agent.turn.turn_taking import ROOT_BRANCH, TurnTaking
from chat.events import Event, Usage
from chat.models import Run

# Fields of an artifact without bytes of its own, and of one that another artifact service keeps.
NO_FILE = {"file": None, "mime": "", "size": 0, "width": None, "height": None}
USER, MODEL = "user", "model"  # authors in ADK that are not agents
AUTHOR_LENGTH = 128  # characters in Message.agent
MAX_TOKENS = "MAX_TOKENS"
# Error codes and finish reasons that are not failures. ADK uses the first one for an abort.
NOT_FAILURES = {"INVOCATION_ABORTED", "STOP", MAX_TOKENS, "FINISH_REASON_UNSPECIFIED"}


@dataclass(slots=True)
class EventTranslator:
    """Translator of ADK's events of one reply, in writing or in a call.

    Call ``begin`` once, ``add`` for each event, and ``flush`` at the end. Then read ``finish``, ``usage``,
    ``model`` and ``pending_calls``.
    """

    session: SessionData
    _: KW_ONLY
    files: RunFiles | None = None  # None: those of the session's run
    finish: str = "stop"  # the model ended normally; a member's stop is a status, not a finish
    usage: Usage = field(default_factory=Usage)
    model: str = ""  # as its provider reports it, else as the root agent names it
    used_tools: bool = False  # only tools that can have an effect, so not those of ADK
    pending_calls: set[str] = field(default_factory=set)  # ids of calls that wait for the user
    _turn_taking: TurnTaking = field(default_factory=TurnTaking)
    _root: str = ""  # ADK's name for the root agent
    _is_workflow: bool = False
    _files: RunFiles = field(init=False)
    _text: ReplyText = field(init=False)
    _sources: ReplySources = field(default_factory=ReplySources)
    _author: str = ""
    _called_at: dict[str, float] = field(default_factory=dict)  # time.monotonic() of calls without a result
    _elapsed_ms: dict[str, int] = field(default_factory=dict)  # of calls with a result that is not shown yet
    _failed: list[Event] = field(default_factory=list)  # names of agents that are not shown yet
    _failures: dict[str, failure_codes.AgentFailure] = field(default_factory=dict)  # by ADK branch

    def __post_init__(self) -> None:
        session = self.session
        self._files = self.files or RunFiles(
            int(session.user_id),
            uuid.UUID(session.conversation_id),
            session.run_id,
            attempt=session.attempt,
            parent_id=session.prompt_parent,
        )
        self._text = ReplyText(self._files.find)

    def begin(self, root: BaseNode) -> None:
        """Prepare for the events of this root agent."""
        self._root, self._author = root.name, self.session.agent
        self._text.agent = self._author
        self._is_workflow = isinstance(root, Workflow)
        named = getattr(root, "model", "")
        self.model = named if isinstance(named, str) else getattr(named, "model", "")

    async def add(self, adk_event: AdkEvent) -> list[Event]:
        """Return the events that show this one, or those buffered before it, in order."""
        self._track(adk_event)
        await self._keep_files(adk_event)
        return self._translate_all(self._turn_taking.add(adk_event))

    @property
    def failures(self) -> list[failure_codes.AgentFailure]:
        """The last failure of each ADK branch, as far as no later event of the branch has cleared it."""
        is_answered = self.used_tools or self.pending_calls or self._text.says_something
        return [each for each in self._failures.values() if each.code != "empty" or not is_answered]

    async def _keep_files(self, adk_event: AdkEvent) -> None:
        """Store the files of an event before it is shown. Those of a whole one are stored with it."""
        if adk_event.author != USER:
            for blob in blobs_in(adk_event.content):
                await self._files.keep(blob)

    def flush(self) -> list[Event]:
        """Return the events of parallel agents that were not shown yet, the sources, and the failed agents.

        The session has the whole ones, so the model will know them: the user must see them too. The fragments
        of the others are shown if one agent failed: their words are not lost with it.
        """
        found = self._translate_all(self._turn_taking.flush(fragments=bool(self._failed)))
        sources = self._sources.event()
        failed, self._failed = self._failed, []
        return [*found, *([sources] if sources else []), *(failed if self._text.says_something else [])]

    def _name_failed(self, failure: failure_codes.AgentFailure) -> None:
        """Name the agent that failed beside others; the end of the run has the code."""
        if failure.agent not in ("", self._root, USER, MODEL):
            detail = str(endings.explain(Run.Status.FAILED, failure.code)["detail"])
            self._failed.append(events.agent_failed(failure.agent[:AUTHOR_LENGTH], failure.code, detail))

    def _track(self, adk_event: AdkEvent) -> None:
        """Record tool calls, times and failures when they happen, even if they are shown later."""
        if deadline := deadlines.run_deadline.get():
            deadline.advanced(adk_event.branch)
        self.model = adk_event.model_version or self.model
        if adk_event.partial or adk_event.author == USER:
            return
        for call in adk_event.get_function_calls():
            self._called_at[call.id or ""] = time.monotonic()
            self.used_tools = self.used_tools or call.name not in events.ADK_TOOLS
            if call.id and call.id in (adk_event.long_running_tool_ids or ()):
                self.pending_calls.add(call.id)
        for response in adk_event.get_function_responses():
            called_at = self._called_at.pop(response.id or "", time.monotonic())
            self._elapsed_ms[response.id or ""] = round((time.monotonic() - called_at) * 1000)
            self.pending_calls.discard(response.id or "")
        self._update_failures(adk_event)

    def _update_failures(self, adk_event: AdkEvent) -> None:
        """Keep the last failure of each ADK branch.

        An event with content or output clears the failures of its own branch and of branches inside it; one
        of the root branch clears all.
        """
        branch = adk_event.branch or ROOT_BRANCH
        if failure := self._failure_of(adk_event):
            failure.agent = adk_event.author
            self._failures[branch] = failure
        elif adk_event.content or adk_event.output is not None:
            for failed in list(self._failures):
                if branch in (ROOT_BRANCH, failed) or failed.startswith(f"{branch}."):
                    del self._failures[failed]

    def _translate_all(self, adk_events: Iterable[AdkEvent]) -> list[Event]:
        return [event for adk_event in adk_events for event in self._translate(adk_event)]

    def _translate(self, adk_event: AdkEvent) -> list[Event]:
        if adk_event.author == USER:
            return []
        found = self._new_author(adk_event)
        if adk_event.partial:
            return found + self._text.fragment(adk_event.content)
        found += self._translate_whole(adk_event) + self._step(adk_event)
        return self._with_artifacts(found, adk_event)

    def _with_artifacts(self, shown: list[Event], adk_event: AdkEvent) -> list[Event]:
        """Return the events with each artifact that a tool, a callback or a code executor saved.

        One that the reply shows already, because a part has the same bytes, is not shown twice.
        """
        for name, version in adk_event.actions.artifact_delta.items():
            file = self._files.saved.get((name, version))
            item = file.item if file else NO_FILE | {"name": name}
            saved = events.file(self._author, item, artifact=name, version=version)
            # As the file of a part, it has the id of that part.
            same = [
                n for n, each in enumerate(shown) if file and each == events.file(self._author, file.item)
            ]
            if same:
                shown[same[0]] = saved
            elif file is None or file.sha256 not in self._text.files:
                shown.append(saved)
        return shown

    def _step(self, adk_event: AdkEvent) -> list[Event]:
        """Return the step of a workflow that is done with this event: not that of the root, its reply."""
        path = adk_event.node_info.path
        if not self._is_workflow or "/" not in path or path not in (adk_event.node_info.output_for or ()):
            return []
        name = path.rpartition("/")[2].partition("@")[0]
        is_shown = adk_event.content is not None or _is_reply(adk_event)  # the output is text of the reply
        return [events.step(name, path, None if is_shown else adk_event.output)]

    def _new_author(self, adk_event: AdkEvent) -> list[Event]:
        author = self.session.agent if adk_event.author == self._root else adk_event.author[:AUTHOR_LENGTH]
        if author in (self._author, MODEL, "") or not (adk_event.content or adk_event.output is not None):
            return []
        self._author = self._text.agent = author
        if self._text.is_unfinished:  # of the previous agent
            self._text.end_model_call()
        return [events.agent(author)]

    def _translate_whole(self, adk_event: AdkEvent) -> list[Event]:
        if adk_event.content:
            shown = self._text.whole(adk_event.content)
            self._sources.add(adk_event, *self._text.last_call)
            return shown + self._tools(adk_event)
        return self._text.output(adk_event.output) if _is_reply(adk_event) else []

    def _tools(self, adk_event: AdkEvent) -> list[Event]:
        calls = [
            events.tool_called(call.id or "", call.name or "", call.args or {})
            for call in adk_event.get_function_calls()
        ]
        return [*calls, *(e for r in adk_event.get_function_responses() for e in self._returned(r))]

    def _returned(self, response: types.FunctionResponse) -> list[Event]:
        """Return the event of a tool's result, and those of its files."""
        call_id, name = response.id or "", response.name or ""
        result = response.response or {}
        elapsed = self._elapsed_ms.pop(call_id, 0)
        found: list[Event] = []
        unshown: list[str] = []
        for part in response.parts or []:
            if part.inline_data and (file := self._files.find(part.inline_data.data)):
                found += self._text.file(file)
            elif part.inline_data:
                unshown.append(run_files.not_kept(part.inline_data))
            elif part.file_data:
                unshown.append(parts.elsewhere(part.file_data))
        if unshown:
            result = {**result, "files": unshown}
        if set(result) == {"error"}:
            returned = events.tool_returned(call_id, name, error=str(result["error"]), elapsed_ms=elapsed)
        else:
            returned = events.tool_returned(call_id, name, result=result, elapsed_ms=elapsed)
        return [returned, *found]

    def _failure_of(self, adk_event: AdkEvent) -> failure_codes.AgentFailure | None:
        """Return the failure that the event reports, and set ``finish`` from its finish reason."""
        # Without streaming, ADK 2.13 reports why a text was cut only in finish_reason.
        reason = adk_event.finish_reason and adk_event.finish_reason.value
        if reason:
            self.finish = "max_tokens" if reason == MAX_TOKENS else "stop"
        code = adk_event.error_code or reason
        if code is None and adk_event.error_message:
            return failure_codes.failure_of_event(failure_codes.UNNAMED_ERROR, adk_event.error_message)
        if code is None or code in NOT_FAILURES:
            return None
        # A provider's own word for the end of a complete answer: LiteLlm gives OTHER for each that it lacks.
        pieces = parts.pieces_of(adk_event.content)
        says_something = parts.text_of(pieces).strip() or any(p.kind == parts.FILE_PIECE for p in pieces)
        is_complete = code == reason and says_something
        if is_complete and not failure_codes.is_known(code):
            return None
        return failure_codes.failure_of_event(code, adk_event.error_message or "")


def _is_reply(adk_event: AdkEvent) -> bool:
    """Return whether the event's output is that of the root node, whose path has no "/"."""
    is_of_root = any("/" not in path for path in adk_event.node_info.output_for or ())
    return is_of_root and adk_event.output is not None and not adk_event.content
