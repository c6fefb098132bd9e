"""The command behind ``manage.py chat``, from its options to its exit code."""

import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from django.utils.translation import gettext as _

from accounts.models import User
from chat import access, hooks
from chat.agent.agents import catalog
from chat.models import Conversation
from chat.refusals import Refusal
from chat.terminal import questions
from chat.terminal.chat import TerminalChat, cannot_write
from chat.terminal.decisions import DecisionPrompt
from chat.terminal.event_loop import EventLoopThread
from chat.terminal.executor import RunExecutor
from chat.terminal.outputs import FileOutput, Output, PipeOutput, ScreenOutput
from chat.terminal.signals import EXIT_INTERRUPTED, ExitRequested, exit_on_signals, handle_ctrl_c
from chat.terminal.stderr import Stderr
from chat.terminal.streams import OwnStreams, own_streams
from chat.terminal.text import on_one_line
from chat.terminal.text_stream import TextStream

EXIT_WAITING = 3  # the agent waits for a person


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
    verbose: bool = False


def run_chat(options: ChatOptions) -> int:
    """Chat until there are no more questions; return the exit code. Raise CannotStart."""
    exit_on_signals()
    with own_streams(shows_agents=options.verbose) as streams:
        return _chat(options, streams)


def _chat(options: ChatOptions, streams: OwnStreams) -> int:
    with readable_errors():
        member, conversation = _load(options)
    interactive = sys.stdin.isatty() and not options.demo
    with ExitStack() as stack:
        stdout = TextStream(streams.stdout)
        outputs = _outputs(options, stdout, asker=member.username, interactive=interactive, stack=stack)
        screen = stdout if streams.stdout.isatty() else None
        stderr = Stderr(TextStream(streams.stderr), screen, colour=options.colour)
        loop = EventLoopThread(stderr.draw_spinner)
        stack.callback(loop.close)
        chat = TerminalChat(
            member, loop, RunExecutor(), outputs, stderr,
            agent=options.agent or catalog.available_names()[0], conversation=conversation,
        )  # fmt: skip
        # Without stderr on the terminal, no one would see what is decided.
        decides = interactive and stderr.is_terminal
        reader = questions.decision_reader(sys.stdin, streams)
        prompt = DecisionPrompt(reader, stderr) if decides else None
        return _run(chat, _questions(options, stderr, streams, interactive), interactive, prompt)


def _run(chat: TerminalChat, asked: Iterator[str], interactive: bool, prompt: DecisionPrompt | None) -> int:
    hand_over = True
    try:
        with readable_errors():
            chat.loop.run(chat.executor.open())
            if interactive:
                _welcome(chat)
        code = _ask_all(chat, asked, interactive, prompt)
        if interactive and chat.conversation:
            chat.stderr.note(_("To go on: %(command)s") % {"command": _command_to_go_on(chat)})
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


def _ask_all(
    chat: TerminalChat, asked: Iterator[str], interactive: bool, prompt: DecisionPrompt | None
) -> int:
    """Ask the questions; return the exit code, which is 0 at a prompt: its user saw each failure."""
    code, left = 0, set[uuid.UUID]()
    if prompt:
        _decide_all(chat, prompt, left)
    for question in asked:
        if interactive and (path := questions.path_of_file(question)):
            chat.attach(path)
            continue
        complete = chat.ask(question)
        if interactive:
            if prompt:
                _decide_all(chat, prompt, left)
            continue
        if chat.interrupted:
            return EXIT_INTERRUPTED
        if chat.waits:
            # A further question would mean that the request is not answered.
            chat.stderr.message(_("To go on: %(command)s") % {"command": _command_to_go_on(chat)})
            return EXIT_WAITING
        code = code if complete else 1
    return code


def _decide_all(chat: TerminalChat, prompt: DecisionPrompt, left: set[uuid.UUID]) -> None:
    """Let the member decide what waits, except the requests ``left`` open before, to which it adds."""
    while group := next((each for each in chat.open_requests() if not left & {r.pk for r in each}), None):
        answers = prompt.decide(group)
        if answers is None:
            if not group[0].is_job:
                chat.stderr.message(_("It waits. A new question means that it is not answered."))
            chat.stderr.message(_("To answer later: %(command)s") % {"command": _command_to_go_on(chat)})
        else:
            chat.answer(answers)
            if chat.refused == "payload":
                continue
        left |= {request.pk for request in group}


def _command_to_go_on(chat: TerminalChat) -> str:
    return f"chat --user {chat.member.username} --conversation {chat.conversation}"


def _welcome(chat: TerminalChat) -> None:
    answers = _("This command answers.") if chat.executor.executes_here else _("A running Parley answers.")
    chat.stderr.note(f"Parley {settings.VERSION}, {chat.agent}. {answers}")
    if chat.title:
        chat.stderr.note(_("The conversation goes on: %(title)s") % {"title": chat.title})
    chat.stderr.note(_("Ctrl-C stops an answer; /file PATH adds a file; exit or Ctrl-D leaves."))
    chat.say_if_closed()


# --- member, conversation, files ----------------------------------------------------------------


def _load(options: ChatOptions) -> tuple[User, Conversation | None]:
    """Return the member and the conversation. Raise CannotStart, and what the database raises."""
    with _without_pool():
        member = _member(options.user)
        if options.agent is not None and options.agent not in catalog.available_names():
            names = ", ".join(catalog.available_names())
            raise CannotStart(_("There is no agent of this name. There are: %(names)s.") % {"names": names})
        conversation = _conversation(member, options)
        try:
            for told in hooks.terminal_opened:
                told(member)
        except Refusal as refusal:
            raise CannotStart(refusal.detail) from refusal
        return member, conversation


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


def _questions(options: ChatOptions, stderr: Stderr, streams: OwnStreams, interactive: bool) -> Iterator[str]:
    if options.demo:
        return iter(questions.DEMO_QUESTIONS)
    if interactive:
        return questions.until_exit(questions.typed_questions(sys.stdin, stderr, streams))
    return questions.until_exit(questions.piped_questions(sys.stdin.buffer))
