"""One conversation in a terminal: sends a question, follows its run, and writes the reply as it comes."""

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from django.utils.translation import gettext as _

from accounts.models import User
from chat import access, actions, doorbell, events, refusals, waiting
from chat.actions import Ask, Held
from chat.agent.agents import catalog
from chat.agent.agents.changed import changed_refusal
from chat.database import AWAY, run_db, run_db_patiently
from chat.endings import APPROVAL
from chat.events import Event, Row
from chat.models import Conversation, PersonRequest, QueuedAsk, Run
from chat.refusals import Refusal
from chat.runs.follow import follow
from chat.runs.pending import stop_bell_names
from chat.terminal.event_loop import EventLoopThread
from chat.terminal.executor import RunExecutor
from chat.terminal.outputs import FileOutput, Output
from chat.terminal.signals import handle_ctrl_c
from chat.terminal.stderr import Stderr, incomplete_note, waiting_note
from chat.text import check_text
from chat.waiting import Answer

REASSIGN_SECONDS = 1.0  # of silence, after which the executing process may be dead
AWAY_MAX_SECONDS = 60.0  # for which a reader waits for a database that is away
AWAY_RETRY_SECONDS = 0.5


class TerminalChat:
    """A member's chat: a new conversation with ``agent``, or an existing ``conversation``."""

    def __init__(
        self,
        member: User,
        loop: EventLoopThread,
        executor: RunExecutor,
        outputs: Sequence[Output],
        stderr: Stderr,
        *,
        agent: str,
        conversation: Conversation | None,
    ) -> None:
        self.member = member
        self.loop = loop
        self.executor = executor
        self.outputs = list(outputs)
        self.stderr = stderr
        self.agent = conversation.agent if conversation else agent
        self.conversation = conversation.pk if conversation else None
        self.title = conversation.title if conversation else ""
        self.interrupted = False
        self.output_failed = False
        self.waits = False  # the last run ended because the agent needs a person
        self.refused = ""  # code of the refusal of the last ask
        self._run: uuid.UUID | None = None

    def ask(self, question: str) -> bool:
        """Ask, and write the reply; return whether it is complete, or write a message that says why not.

        Raise ExitRequested for a second Ctrl-C, and OSError of stdout. A file that fails is dropped.
        """
        new_one = None if self.conversation else self.agent
        return self._follow_up(Ask(query=question, conversation=self.conversation, agent=new_one))

    def answer(self, answers: tuple[Answer, ...]) -> bool:
        """Store decisions, and write how the reply goes on. Return and raise as ``ask`` does."""
        return self._follow_up(Ask(answers=answers, conversation=self.conversation))

    def open_requests(self) -> list[list[PersonRequest]]:
        """Return what waits for the member: the requests of the last reply together, and each job by itself.

        Return nothing if the conversation is deleted or the database does not answer: the next question
        says so.
        """
        if self.conversation is None:
            return []
        try:
            found = self.loop.run(run_db(_open_requests, self.member, self.conversation))
        except (Refusal, *AWAY):
            return []
        own = [request for request in found if not request.approvers]
        together = [request for request in own if not request.is_job]
        jobs = [[request] for request in own if request.is_job]
        return [together, *jobs] if together else jobs

    def _follow_up(self, ask: Ask) -> bool:
        self.stderr.restart_silence()
        self.interrupted = self.waits = False
        self.refused = ""
        with handle_ctrl_c(self._interrupt):
            try:
                return self._ask(ask)
            except Refusal as refusal:
                self.refused = refusal.code
                self.stderr.message(_message_of(refusal))
            except AWAY:
                self.stderr.message(
                    _("The database does not answer. A question that was stored is not lost.")
                )
            finally:
                self._run = None
                self.stderr.erase_spinner()
        return False

    # --- asking -------------------------------------------------------------------------------

    def _ask(self, ask: Ask) -> bool:
        run = self.loop.run(run_db(self._send, ask))
        if isinstance(run, Held):
            self.stderr.message(_("Stored. The agent goes on when the others have decided, too."))
            return True
        self.conversation, self._run = run.conversation_id, run.pk
        if self.interrupted:
            self._request_stop(run.pk)
        self.loop.run(self.executor.ensure_executed(run.pk))
        self._each_output(lambda output: output.begin(run.prompt.text, self.agent))
        end, asked = Event("", {}), []
        for row in self._rows(run.pk):
            end = row.event()
            if end.type == events.WAITING:
                asked.append(end.data)
            self._show(end)
        self.waits = end.data.get("finish") == APPROVAL
        note = waiting_note(asked) if self.waits else incomplete_note(end.type, end.data)
        self._each_output(lambda output: output.end(note))
        if note:
            self.stderr.message(note)
        return end.type == events.COMPLETED and not self.output_failed

    def _send(self, ask: Ask) -> Run | Held:
        self.member.refresh_from_db(fields=["suspended_until"])  # it was loaded when the terminal opened
        if ask.answers:
            stored = actions.send_or_queue(self.member, ask, agents=(), refusal=changed_refusal(ask.answers))
            assert not isinstance(stored, QueuedAsk), "only questions are queued"
            return stored
        _check(ask.query or "")
        return actions.send_message(self.member, ask, agents=catalog.available_names())

    # --- reading ------------------------------------------------------------------------------

    def _rows(self, run_id: uuid.UUID) -> Iterator[Row]:
        """Yield the run's rows to its end; wait for a database that is away."""
        after, away_since = 0, None
        while True:
            try:
                for batch in self.loop.iterate(follow(run_id, after, idle=REASSIGN_SECONDS)):
                    away_since = None
                    if not batch:
                        self.loop.run(self.executor.ensure_executed(run_id))
                    for row in batch:
                        after = row.seq
                        yield row
                return
            except AWAY:
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > AWAY_MAX_SECONDS:
                    raise
                time.sleep(AWAY_RETRY_SECONDS)

    def _show(self, event: Event) -> None:
        if event.type in (events.TEXT, events.REPLACE):
            self.stderr.end_line()
            if event.type == events.REPLACE:
                self._each_output(lambda output: output.restart())
            if text := event.data["text"]:
                self._each_output(lambda output: output.text(text))
        else:
            self.stderr.show_event(event)
        self.stderr.restart_silence()

    def _each_output(self, write: Callable[[Output], None]) -> None:
        self.stderr.erase_spinner()
        for output in list(self.outputs):
            try:
                write(output)
            except OSError as error:
                if not isinstance(output, FileOutput):
                    raise
                self.outputs.remove(output)
                self.output_failed = True
                self.stderr.message(cannot_write(output.path, error))

    # --- stopping -----------------------------------------------------------------------------

    def _interrupt(self) -> None:
        # The first Ctrl-C: called by the signal handler, so it must not wait or write.
        self.interrupted = True
        if self._run is not None:
            self._request_stop(self._run)

    def _request_stop(self, run_id: uuid.UUID) -> None:
        self.loop.start(self._stop(run_id))

    async def _stop(self, run_id: uuid.UUID) -> None:
        try:
            await run_db_patiently(_store_stop_request, self.member, run_id)
        except Refusal:
            return  # the conversation was deleted meanwhile, which stops the run
        await doorbell.ring(stop_bell_names(run_id))


def _store_stop_request(member: User, run_id: uuid.UUID) -> None:
    actions.request_stop(access.access_run(member, run_id))


def _open_requests(member: User, conversation: uuid.UUID) -> list[PersonRequest]:
    return waiting.open_requests(access.access_conversation(member, conversation))


def _check(question: str) -> None:
    """Raise the 400 refusal for text that cannot be stored: invalid UTF-8, or with a NUL."""
    try:
        question.encode()
    except UnicodeEncodeError as error:
        raise refusals.malformed(_("That is not UTF-8.")) from error
    check_text(question)


def _message_of(refusal: Refusal) -> str:
    if refusal.status == 404:
        return _("This conversation no longer exists.")
    hint = " " + _("Try again in a moment.") if refusal.retry_after or refusal.code == "busy" else ""
    return f"{refusal.detail}{hint}"


def cannot_write(path: Any, error: OSError) -> str:
    """Return the message for a failed write to ``path``."""
    return _("%(file)s cannot be written: %(reason)s.") % {"file": path, "reason": error.strerror}
