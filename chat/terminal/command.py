"""The command behind ``manage.py chat``, from its options to its exit code."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from django.utils.translation import gettext as _

from accounts.models import User
from chat import access
from chat.agent.agents import catalog
from chat.models import Conversation
from chat.refusals import Refusal
from chat.terminal import questions
from chat.terminal.chat import TerminalChat, cannot_write
from chat.terminal.event_loop import EventLoopThread
from chat.terminal.executor import RunExecutor
from chat.terminal.outputs import FileOutput, Output, PipeOutput, ScreenOutput, TextStream
from chat.terminal.signals import EXIT_INTERRUPTED, ExitRequested, exit_on_signals, handle_ctrl_c
from chat.terminal.stderr import Stderr
from chat.terminal.text import on_one_line


class CannotStart(Exception):
    """The command cannot start; ``str()`` is the message for the user."""


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """Options of the command line."""

    user: str
    agent: str | None = None
    conversation: str | None = None
    demo: bool = False
    out: Sequence[str] = ()
    colour: bool = True


def run_chat(options: ChatOptions) -> int:
    """Chat until there are no more questions; return the exit code. Raise CannotStart."""
    exit_on_signals()
    with readable_errors():
        member, conversation = _load(options)
    interactive = sys.stdin.isatty() and not options.demo
    with ExitStack() as stack:
        for file in (sys.stdout, sys.stderr):
            # a terminal that cannot show a character gets a question mark, not a traceback
            file.reconfigure(errors="replace")  # type: ignore[union-attr]
        stdout = TextStream(sys.stdout)
        outputs = _outputs(options, stdout, asker=member.username, interactive=interactive, stack=stack)
        screen = stdout if sys.stdout.isatty() else None
        stderr = Stderr(TextStream(sys.stderr), screen, colour=options.colour)
        loop = EventLoopThread(stderr.draw_spinner)
        stack.callback(loop.close)
        chat = TerminalChat(
            member, loop, RunExecutor(), outputs, stderr,
            agent=options.agent or catalog.available_names()[0], conversation=conversation,
        )  # fmt: skip
        return _run(chat, _questions(options, stderr, interactive), interactive)


def _run(chat: TerminalChat, asked: Iterator[str], interactive: bool) -> int:
    hand_over = True
    try:
        with readable_errors():
            chat.loop.run(chat.executor.open())
        if interactive:
            _welcome(chat)
        code = _ask_all(chat, asked, interactive)
        if interactive and chat.conversation:
            values = {"user": chat.member.username, "id": chat.conversation}
            chat.stderr.note(_("To go on: chat --user %(user)s --conversation %(id)s") % values)
        hand_over = False
        return code
    except BrokenPipeError:
        hand_over = False  # the reply is completed without its reader, as for a closed page
        raise
    except ExitRequested as request:
        # A second Ctrl-C follows the stop request of the first one, which ends the run within a moment.
        hand_over = request.code != EXIT_INTERRUPTED
        return request.code
    finally:
        with handle_ctrl_c(lambda: chat.loop.start(chat.executor.hand_over())):
            chat.loop.run(chat.executor.close(hand_over=hand_over))


def _ask_all(chat: TerminalChat, asked: Iterator[str], interactive: bool) -> int:
    """Ask the questions; return the exit code, which is 0 at a prompt: its user saw each failure."""
    code = 0
    for question in asked:
        if not chat.ask(question) and not interactive:
            code = 1
        if chat.interrupted and not interactive:
            return EXIT_INTERRUPTED
    return code


def _welcome(chat: TerminalChat) -> None:
    answers = _("This command answers.") if chat.executor.executes_here else _("A running Parley answers.")
    chat.stderr.note(f"Parley {settings.VERSION}, {chat.agent}. {answers}")
    if chat.title:
        chat.stderr.note(_("The conversation goes on: %(title)s") % {"title": chat.title})
    chat.stderr.note(_("Ctrl-C stops an answer; exit or Ctrl-D leaves."))


# --- member, conversation, files ----------------------------------------------------------------


def _load(options: ChatOptions) -> tuple[User, Conversation | None]:
    """Return the member and the conversation. Raise CannotStart, and what the database raises."""
    with _without_pool():
        member = _member(options.user)
        if options.agent is not None and options.agent not in catalog.available_names():
            names = ", ".join(catalog.available_names())
            raise CannotStart(_("There is no agent of this name. There are: %(names)s.") % {"names": names})
        return member, _conversation(member, options)


def _member(name: str) -> User:
    try:
        member = User.objects.get_by_natural_key(name)
    except User.DoesNotExist:
        shown = on_one_line(name, 150)
        raise CannotStart(_("There is no user %(name)s.") % {"name": shown}) from None
    if not member.is_active:
        raise CannotStart(_("The account of %(name)s is not active.") % {"name": member.username})
    return member


def _conversation(member: User, options: ChatOptions) -> Conversation | None:
    if options.conversation is None:
        return None
    if options.agent is not None:
        raise CannotStart(_("--agent is for a new conversation: this one has its agent."))
    try:
        return access.access_conversation(member, options.conversation.lower())
    except Refusal:
        raise CannotStart(_("There is no such conversation of this user.")) from None


@contextmanager
def _without_pool() -> Iterator[None]:
    """Connect without the pool, which retries for 10 s and then hides the database's reason."""
    options = connection.settings_dict["OPTIONS"]
    pool = options.pop("pool", None)
    try:
        yield
    finally:
        connection.close()
        if pool is not None:
            options["pool"] = pool


@contextmanager
def readable_errors() -> Iterator[None]:
    """Raise CannotStart, with one sentence, for errors of the database and of files."""
    try:
        yield
    except (DatabaseError, InterfaceError) as error:
        reason = " ".join(str(error).split())
        if "locked" in reason:
            name = settings.DATABASES["default"]["NAME"]
            raise CannotStart(
                _("Another program holds %(file)s. Try again when it has ended.") % {"file": name}
            ) from error
        sentence = _("The database cannot be used: %(reason)s. `manage.py prepare` brings it up to date.")
        raise CannotStart(sentence % {"reason": reason.rstrip(".")}) from error
    except OSError as error:
        raise CannotStart(cannot_write(error.filename, error)) from error


def _outputs(
    options: ChatOptions, stdout: TextStream, *, asker: str, interactive: bool, stack: ExitStack
) -> list[Output]:
    outputs: list[Output] = [
        ScreenOutput(stdout, asker=asker, shows_questions=not interactive)
        if stdout.file.isatty()
        else PipeOutput(stdout)
    ]
    for name in options.out:
        try:
            file = FileOutput(Path(name), asker=asker)
        except OSError as error:
            raise CannotStart(cannot_write(on_one_line(name, 200), error)) from error
        stack.callback(file.close)
        outputs.append(file)
    return outputs


def _questions(options: ChatOptions, stderr: Stderr, interactive: bool) -> Iterator[str]:
    if options.demo:
        return iter(questions.DEMO_QUESTIONS)
    if interactive:
        return questions.until_exit(questions.typed_questions(sys.stdin, stderr))
    return questions.until_exit(questions.piped_questions(sys.stdin.buffer))
