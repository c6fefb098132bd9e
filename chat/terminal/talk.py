"""One conversation: a question is asked, its answer followed and written as it comes."""

import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from django.utils.translation import gettext as _

from chat import access, actions, events, refusals
from chat.actions import Ask
from chat.agent.agents import catalog
from chat.database import AWAY, run_db, run_db_patiently
from chat.events import Event, Row
from chat.models import Conversation, Run
from chat.refusals import Refusal
from chat.runs.follow import follow
from chat.terminal.engine import Engine
from chat.terminal.host import Host
from chat.terminal.margin import Margin, whole_or_not
from chat.terminal.outputs import File, Output
from chat.terminal.signals import interrupts
from chat.text import check_text

STOP_POLL_SECONDS = 1.0  # of silence after which it is seen to that somebody executes the run
AWAY_SECONDS = 60.0  # how long a reader waits for a database that is away
STOP_RETRY_SECONDS = 0.5


class Talk:
    """``agent`` for a new conversation, or ``conversation`` to go on with; the member's own."""

    def __init__(
        self,
        member: Any,
        engine: Engine,
        host: Host,
        outputs: Sequence[Output],
        margin: Margin,
        *,
        agent: str,
        conversation: Conversation | None,
    ) -> None:
        self.member = member
        self.engine = engine
        self.host = host
        self.outputs = list(outputs)
        self.margin = margin
        self.agent = conversation.agent if conversation else agent
        self.conversation = conversation.pk if conversation else None
        self.title = conversation.title if conversation else ""
        self.interrupted = False
        self.gave_up = False  # one of the outputs
        self._run: uuid.UUID | None = None

    def ask(self, question: str) -> bool:
        """Ask, and write the answer. Whether a whole one came; why not is said.

        Raises Leave for a second Ctrl-C, and OSError of stdout. A file that fails is given up.
        """
        self.margin.begin_waiting()
        self.interrupted = False
        with interrupts(self._interrupted):
            try:
                return self._answer_to(question)
            except Refusal as refusal:
                self.margin.say(_sentence(refusal))
            except AWAY:
                self.margin.say(_("The database does not answer. What was asked and stored is not lost."))
            finally:
                self._run = None
                self.margin.clear()
        return False

    # --- asking -------------------------------------------------------------------------------

    def _answer_to(self, question: str) -> bool:
        run = self.engine.run(run_db(self._send, question))
        self.conversation, self._run = run.conversation_id, run.pk
        if self.interrupted:
            self._request_stop(run.pk)
        self.engine.run(self.host.see_to(run.pk))
        self._each_output("begin", question, self.agent)
        end = Event("", {})
        for row in self._rows(run.pk):
            end = row.event()
            self._show(end)
        note = whole_or_not(end.type, end.data)
        self._each_output("end", note)
        if note:
            self.margin.say(note)
        return end.type == events.COMPLETED and not self.gave_up

    def _send(self, question: str) -> Run:
        _check(question)
        ask = Ask(
            query=question, conversation=self.conversation, agent=None if self.conversation else self.agent
        )
        return actions.send_message(self.member, ask, agents=catalog.available_names()).run

    # --- reading ------------------------------------------------------------------------------

    def _rows(self, run_id: uuid.UUID) -> Iterator[Row]:
        """The run's rows to its last, also where the database is away in between."""
        after, away_since = 0, None
        while True:
            try:
                for batch in self.engine.each(follow(run_id, after, idle=STOP_POLL_SECONDS)):
                    away_since = None
                    if not batch:
                        self.engine.run(self.host.see_to(run_id))
                    for row in batch:
                        after = row.seq
                        yield row
                return
            except AWAY:
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > AWAY_SECONDS:
                    raise
                time.sleep(STOP_RETRY_SECONDS)

    def _show(self, event: Event) -> None:
        match event.type:
            case events.TEXT:
                self.margin.end_thought()
                self._each_output("text", event.data["text"])
            case events.REPLACE:
                self.margin.end_thought()
                self._each_output("again")
                if event.data["text"]:
                    self._each_output("text", event.data["text"])
            case _:
                self.margin.event(event)
        self.margin.begin_waiting()

    def _each_output(self, what: str, *args: str) -> None:
        self.margin.clear()
        for output in list(self.outputs):
            try:
                getattr(output, what)(*args)
            except OSError as error:
                if not isinstance(output, File):
                    raise
                self.outputs.remove(output)
                self.gave_up = True
                self.margin.say(unwritable(output.path, error))

    # --- stopping -----------------------------------------------------------------------------

    def _interrupted(self) -> None:
        """The first Ctrl-C: from the signal handler, so nothing here waits or writes."""
        self.interrupted = True
        if self._run is not None:
            self._request_stop(self._run)

    def _request_stop(self, run_id: uuid.UUID) -> None:
        self.engine.begin(self._stop(run_id))

    async def _stop(self, run_id: uuid.UUID) -> None:
        try:
            await run_db_patiently(_record_stop, self.member, run_id)
        except Refusal:
            return  # the conversation was deleted meanwhile, which stops the run
        await self.host.stop(run_id)


def _record_stop(member: Any, run_id: uuid.UUID) -> None:
    actions.request_stop(access.access_run(member, run_id))


def _check(question: str) -> None:
    """Raises the 400 refusal for what can't be stored as it is: what is not UTF-8, and NUL."""
    try:
        question.encode()
    except UnicodeEncodeError as error:
        raise refusals.malformed(_("That is not UTF-8.")) from error
    check_text(question)


def _sentence(refusal: Refusal) -> str:
    if refusal.status == 404:
        return _("This conversation is not there any more.")
    hint = " " + _("Try again in a moment.") if refusal.retry_after or refusal.code == "busy" else ""
    return f"{refusal.detail}{hint}"


def unwritable(path: Any, error: OSError) -> str:
    return _("%(file)s cannot be written: %(reason)s.") % {"file": path, "reason": error.strerror}
