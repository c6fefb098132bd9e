"""One conversation in a terminal: sends a question, follows its run, and writes the reply as it comes."""

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from django.utils.translation import gettext as _

from accounts.models import User
from chat import access, actions, doorbell, events, refusals
from chat.actions import Ask
from chat.agent.agents import catalog
from chat.database import AWAY, run_db, run_db_patiently
from chat.events import Event, Row
from chat.models import Conversation, Run
from chat.refusals import Refusal
from chat.runs.follow import follow
from chat.runs.pending import stop_bell_names
from chat.terminal.event_loop import EventLoopThread
from chat.terminal.executor import RunExecutor
from chat.terminal.outputs import FileOutput, Output
from chat.terminal.signals import handle_ctrl_c
from chat.terminal.stderr import Stderr, incomplete_note
from chat.text import check_text

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
        self._run: uuid.UUID | None = None

    def ask(self, question: str) -> bool:
        """Ask, and write the reply; return whether it is complete, or write a message that says why not.

        Raise ExitRequested for a second Ctrl-C, and OSError of stdout. A file that fails is dropped.
        """
        self.stderr.restart_silence()
        self.interrupted = False
        with handle_ctrl_c(self._interrupt):
            try:
                return self._ask(question)
            except Refusal as refusal:
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

    def _ask(self, question: str) -> bool:
        run = self.loop.run(run_db(self._send, question))
        self.conversation, self._run = run.conversation_id, run.pk
        if self.interrupted:
            self._request_stop(run.pk)
        self.loop.run(self.executor.ensure_executed(run.pk))
        self._each_output(lambda output: output.begin(question, self.agent))
        end = Event("", {})
        for row in self._rows(run.pk):
            end = row.event()
            self._show(end)
        note = incomplete_note(end.type, end.data)
        self._each_output(lambda output: output.end(note))
        if note:
            self.stderr.message(note)
        return end.type == events.COMPLETED and not self.output_failed

    def _send(self, question: str) -> Run:
        _check(question)
        ask = Ask(
            query=question, conversation=self.conversation, agent=None if self.conversation else self.agent
        )
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
