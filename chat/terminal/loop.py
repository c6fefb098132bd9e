"""The command from its first look at the database to its exit code."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import DatabaseError, InterfaceError, connection
from django.utils.translation import gettext as _

from chat import access
from chat.agent.agents import catalog
from chat.models import Conversation
from chat.refusals import Refusal
from chat.terminal import questions
from chat.terminal.engine import Engine
from chat.terminal.host import Host
from chat.terminal.margin import Margin
from chat.terminal.outputs import File, Output, Pipe, Screen, Stream
from chat.terminal.signals import EXIT_INTERRUPTED, Leave, interrupts, leave_when_told
from chat.terminal.talk import Talk, unwritable
from chat.terminal.text import on_one_line


class CannotTalk(Exception):
    """The command cannot begin; its text is the sentence for the person."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asks for."""

    user: str
    agent: str | None = None
    conversation: str | None = None
    demo: bool = False
    out: Sequence[str] = ()
    colour: bool = True


def converse(wanted: Wanted) -> int:
    """Talk until there is nothing more to ask. Returns the exit code. Raises CannotTalk."""
    leave_when_told()
    with told_in_a_sentence():
        member, conversation = _reach(wanted)
    typed = sys.stdin.isatty() and not wanted.demo
    with ExitStack() as stack:
        stdout, stderr = _streams()
        outputs = _outputs(wanted, stdout, asker=member.get_username(), typed=typed, stack=stack)
        margin = Margin(stderr, stdout if stdout.file.isatty() else None, colour=wanted.colour)
        engine = Engine(margin.tick)
        stack.callback(engine.close)
        host = Host()
        talk = Talk(
            member, engine, host, outputs, margin,
            agent=wanted.agent or catalog.available_names()[0], conversation=conversation,
        )  # fmt: skip
        return _from_open_to_close(talk, _asked(wanted, margin, typed), typed)


def _from_open_to_close(talk: Talk, asked: Iterator[str], typed: bool) -> int:
    at_once = True
    try:
        with told_in_a_sentence():
            talk.engine.run(talk.host.open())
        _welcome(talk, typed)
        code = _ask_all(talk, asked, typed)
        if typed and talk.conversation:
            words = {"user": talk.member.get_username(), "id": talk.conversation}
            talk.margin.aside(_("To go on: chat --user %(user)s --conversation %(id)s") % words)
        at_once = False
        return code
    except BrokenPipeError:
        at_once = False  # the answer goes on without its reader, as on a page
        raise
    except Leave as leave:
        # A second Ctrl-C comes after the wish to stop, which takes a moment and no more.
        at_once = leave.code != EXIT_INTERRUPTED
        return leave.code
    finally:
        with interrupts(lambda: talk.engine.begin(talk.host.hand_over())):
            talk.engine.run(talk.host.close(at_once=at_once))


def _ask_all(talk: Talk, asked: Iterator[str], typed: bool) -> int:
    """The exit code: at a prompt a failed answer was seen; a script has only this."""
    code = 0
    for question in asked:
        if not talk.ask(question) and not typed:
            code = 1
        if talk.interrupted and not typed:
            return EXIT_INTERRUPTED
    return code


def _welcome(talk: Talk, typed: bool) -> None:
    if not typed:
        return
    where = _("This command answers.") if talk.host.executes_here else _("A running Parley answers.")
    talk.margin.aside(f"Parley {settings.VERSION}, {talk.agent}. {where}")
    if talk.title:
        talk.margin.aside(_("The conversation goes on: %(title)s") % {"title": talk.title})
    talk.margin.aside(_("Ctrl-C stops an answer; exit or Ctrl-D leaves."))


# --- what it begins with ----------------------------------------------------------------------


def _reach(wanted: Wanted) -> tuple[Any, Conversation | None]:
    """The member and the conversation. Raises CannotTalk, and what the database raises."""
    with _without_a_pool():
        member = _member(wanted.user)
        if wanted.agent is not None and wanted.agent not in catalog.available_names():
            names = ", ".join(catalog.available_names())
            raise CannotTalk(_("There is no agent of this name. There are: %(names)s.") % {"names": names})
        return member, _conversation(member, wanted)


def _member(name: str) -> Any:
    users = get_user_model()
    try:
        member = users._default_manager.get_by_natural_key(name)
    except users.DoesNotExist:
        shown = on_one_line(name, 150)
        raise CannotTalk(_("There is no user %(name)s.") % {"name": shown}) from None
    if not member.is_active:
        raise CannotTalk(_("The account of %(name)s is not active.") % {"name": member.get_username()})
    return member


def _conversation(member: Any, wanted: Wanted) -> Conversation | None:
    if wanted.conversation is None:
        return None
    if wanted.agent is not None:
        raise CannotTalk(_("--agent is for a new conversation: this one has its agent."))
    try:
        return access.access_conversation(member, wanted.conversation.lower())
    except Refusal:
        raise CannotTalk(_("There is no such conversation of this user.")) from None


@contextmanager
def _without_a_pool() -> Iterator[None]:
    """A pool would try for 10 s to reach a database that is away, and then not say why."""
    options = connection.settings_dict["OPTIONS"]
    pool = options.pop("pool", None)
    try:
        yield
    finally:
        connection.close()
        if pool is not None:
            options["pool"] = pool


@contextmanager
def told_in_a_sentence() -> Iterator[None]:
    try:
        yield
    except (DatabaseError, InterfaceError) as error:
        words = " ".join(str(error).split())
        if "locked" in words:
            name = settings.DATABASES["default"]["NAME"]
            raise CannotTalk(
                _("Another program holds %(file)s. Try again when it has ended.") % {"file": name}
            ) from error
        sentence = _("The database cannot be used: %(reason)s. `manage.py prepare` brings it up to date.")
        raise CannotTalk(sentence % {"reason": words.rstrip(".")}) from error
    except OSError as error:
        raise CannotTalk(unwritable(error.filename, error)) from error


def _streams() -> tuple[Stream, Stream]:
    for file in (sys.stdout, sys.stderr):
        # a terminal that cannot show a character gets a question mark, not a traceback
        file.reconfigure(errors="replace")  # type: ignore[union-attr]
    return Stream(sys.stdout), Stream(sys.stderr)


def _outputs(wanted: Wanted, stdout: Stream, *, asker: str, typed: bool, stack: ExitStack) -> list[Output]:
    on_screen = stdout.file.isatty()
    console = Screen(stdout, asker=asker, shows_questions=not typed) if on_screen else Pipe(stdout)
    outputs: list[Output] = [console]
    for name in wanted.out:
        try:
            file = File(Path(name), asker=asker)
        except OSError as error:
            raise CannotTalk(unwritable(on_one_line(name, 200), error)) from error
        stack.callback(file.close)
        outputs.append(file)
    return outputs


def _asked(wanted: Wanted, margin: Margin, typed: bool) -> Iterator[str]:
    if wanted.demo:
        return iter(questions.DEMO)
    lines = questions.typed(sys.stdin, margin) if typed else questions.piped(sys.stdin.buffer)
    return questions.until_left(lines)
