"""One conversation in a terminal: sends a question, follows its run, and writes the reply as it comes."""

import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from django.utils.translation import gettext as _

from accounts.models import User
from chat import access, actions, doorbell, events, refusals, waiting
from chat.actions import Ask, Held
from chat.agent.agents import catalog
from chat.agent.agents.changed import changed_refusal
from chat.database import AWAY, run_db, run_db_patiently
from chat.endings import APPROVAL, MODERATED
from chat.events import Event, Row
from chat.files import uploads
from chat.files.blobs import CHUNK_BYTES
from chat.files.kinds import Given, given_as
from chat.files.models import File
from chat.models import Conversation, PersonRequest, QueuedAsk, Run
from chat.moderated import label_of, lock_of
from chat.refusals import Refusal
from chat.runs.follow import follow
from chat.runs.pending import stop_bell_names
from chat.terminal.event_loop import EventLoopThread
from chat.terminal.executor import RunExecutor
from chat.terminal.outputs import FileOutput, Output
from chat.terminal.signals import handle_ctrl_c
from chat.terminal.stderr import Stderr, incomplete_note, waiting_note
from chat.terminal.text import on_one_line
from chat.text import check_text
from chat.waiting import Answer

REASSIGN_SECONDS = 1.0  # of silence, after which the executing process may be dead
AWAY_MAX_SECONDS = 60.0  # for which a reader waits for a database that is away
AWAY_RETRY_SECONDS = 0.5
WORDS_MAX = 2000  # characters of a moderator's words
# columns of the member that moderators change
_DECIDED = ["suspended_until", "suspended_reason", "suspended_decision", "warned_at", "warned_decision"]


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
        self.attached: list[uuid.UUID] = []  # uploads that the next question has
        self._run: uuid.UUID | None = None
        self._is_emptied = False  # the text of the reply was replaced by none

    def ask(self, question: str) -> bool:
        """Ask, and write the reply; return whether it is complete, or write a message that says why not.

        Raise ExitRequested for a second Ctrl-C, and OSError of stdout. A file that fails is dropped.
        """
        new_one = None if self.conversation else self.agent
        files = tuple(self.attached)
        return self._follow_up(
            Ask(query=question, files=files, conversation=self.conversation, agent=new_one)
        )

    def attach(self, path: Path) -> None:
        """Upload a file, which the next question has. Write a message that says why not, or what it is."""
        try:
            if not path.is_file():  # to open a pipe would wait for a writer
                self.stderr.message(_("There is no file %(file)s.") % {"file": path})
                return
            with path.open("rb") as source:
                file = self.loop.run(run_db(_upload, self.member, path.name, source))
        except Refusal as refusal:
            self.stderr.message(_message_of(refusal))
        except AWAY:
            self.stderr.message(_("The database does not answer. The file was not added."))
        except OSError as error:
            self.stderr.message(
                _("%(file)s cannot be read: %(reason)s.") % {"file": path, "reason": error.strerror}
            )
        else:
            self.attached.append(file.pk)
            facts = {"name": file.name, "mime": file.mime, "size": events.kilobytes(file.size)}
            added = _("Added to the next question: %(name)s, %(mime)s, %(size)s KB.") % facts
            only_name = " " + _("The agent gets only its name.")
            is_given = given_as(file.mime, file.size) != Given.NAME
            self.stderr.message(added + ("" if is_given else only_name))

    def answer(self, answers: tuple[Answer, ...]) -> bool:
        """Store decisions, and write how the reply goes on. Return and raise as ``ask`` does."""
        return self._follow_up(Ask(answers=answers, conversation=self.conversation))

    def say_if_closed(self) -> None:
        """Write a message if a moderator's decision forbids to ask here. Raise what the database raises."""
        try:
            refusal = self.loop.run(run_db(_closing_refusal, self.member, self.conversation))
        except Refusal as error:
            refusal = error  # the conversation was deleted
        if refusal:
            self.stderr.message(_message_of(refusal))

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
        self.interrupted = self.waits = self._is_emptied = False
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
        self.conversation, self._run, self.attached = run.conversation_id, run.pk, []
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
        if self._is_emptied and end.data.get("code") == MODERATED:
            self._each_output(lambda output: output.withdraw())
        elif self._is_emptied:
            self._each_output(lambda output: output.restart())
        self.waits = end.data.get("finish") == APPROVAL
        note = waiting_note(asked) if self.waits else incomplete_note(end.type, end.data)
        self._each_output(lambda output: output.end(note))
        if note:
            self.stderr.message(note)
        return end.type == events.COMPLETED and not self.output_failed

    def _send(self, ask: Ask) -> Run | Held:
        # The member was loaded when the terminal opened.
        self.member.refresh_from_db(fields=_DECIDED)
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
            text = event.data["text"]
            if event.type == events.REPLACE or (text and self._is_emptied):
                # Of an empty one, the next text or the end of the run shows what it means.
                self._is_emptied = event.data == {"text": ""}
                if not self._is_emptied:
                    self._each_output(lambda output: output.restart())
            if text:
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


def _upload(member: User, name: str, source: BinaryIO) -> File:
    size = os.fstat(source.fileno()).st_size
    file = uploads.create_upload(member, name, size)
    return uploads.receive_whole(file, iter(lambda: source.read(CHUNK_BYTES), b""))


def _store_stop_request(member: User, run_id: uuid.UUID) -> None:
    actions.request_stop(access.access_run(member, run_id))


def _closing_refusal(member: User, conversation: uuid.UUID | None) -> Refusal | None:
    """Return the refusal that each ask gets now because of a moderator's decision, if there is one."""
    member.refresh_from_db(fields=_DECIDED)
    if (until := member.suspended_until) and member.is_suspended():
        return refusals.suspended(until, member.suspended_reason, member.suspended_decision)
    found = access.access_conversation(member, conversation) if conversation else None
    return refusals.locked(lock_of(found)) if found and found.locked_at else None


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
    """Return the sentences for a refusal; of a moderator's decision with its reason and words."""
    if refusal.status == 404:
        return _("This conversation no longer exists.")
    decided = refusal.extra.get("locked") or refusal.extra
    if reason := decided.get("reason"):
        sentence = _("%(sentence)s Reason: %(reason)s.")
        shown = sentence % {"sentence": refusal.detail, "reason": label_of(reason)}
        words = decided.get("words")
        return f"{shown} “{on_one_line(words, WORDS_MAX)}”" if words else shown
    hint = " " + _("Try again in a moment.") if refusal.retry_after or refusal.code == "busy" else ""
    return f"{refusal.detail}{hint}"


def cannot_write(path: Any, error: OSError) -> str:
    """Return the message for a failed write to ``path``."""
    return _("%(file)s cannot be written: %(reason)s.") % {"file": path, "reason": error.strerror}
