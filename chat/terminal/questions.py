"""Sources of questions: the keyboard, a pipe, the demonstration."""

import shlex
import termios
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

from django.utils.translation import gettext as _

from chat.terminal.stderr import Stderr
from chat.terminal.streams import OwnStreams

# The tutorial's questions, unchanged. Not translated: they are input of the model.
DEMO_QUESTIONS = (
    "Hello! What can you help me with?",
    "Explain quantum computing in simple terms",
    "What are the practical applications?",
    "How does it compare to classical computing?",
)
EXIT_WORDS = {"exit", "quit"}
FILE_COMMAND = "/file "


def piped_questions(lines: Iterable[bytes]) -> Iterator[str]:
    """Yield each line as a question; bytes that are not UTF-8 become lone surrogates."""
    for line in lines:
        yield line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8", "surrogateescape")


def typed_questions(stdin: IO[str], stderr: Stderr, streams: OwnStreams) -> Iterator[str]:
    """Yield each line typed at the prompt, until Ctrl-D or Ctrl-C."""
    while True:
        try:
            yield _prompt(_("You: "), stdin, streams)
        except UnicodeDecodeError:
            stderr.message(_("That is not UTF-8."))
        except (EOFError, KeyboardInterrupt):
            streams.stderr.write("\n")
            streams.stderr.flush()
            return


def decision_reader(stdin: IO[str], streams: OwnStreams) -> Callable[[str], str]:
    """Return a function that writes a label and returns the next line typed.

    It drops what was typed before the label: that was not meant for a request that was not yet shown.
    """

    def read(label: str) -> str:
        termios.tcflush(stdin, termios.TCIFLUSH)
        return _prompt(label, stdin, streams, before="")

    return read


def _prompt(label: str, stdin: IO[str], streams: OwnStreams, *, before: str = "\n") -> str:
    # Importing readline enables line editing and a history in memory. There is no history file: questions
    # are stored in the database and nowhere else.
    try:
        import readline  # noqa: F401
    except ImportError:  # a Python without it: the terminal's own line editing
        pass
    if streams.stdout.isatty():
        with streams.prompting():
            streams.stdout.write(before)
            streams.stdout.flush()
            return input(label)
    streams.stderr.write(label)
    streams.stderr.flush()
    line = stdin.readline()
    if not line:
        raise EOFError
    return line.removesuffix("\n")


def until_exit(questions: Iterable[str]) -> Iterator[str]:
    """Yield the questions up to ``exit`` or ``quit``, without empty lines."""
    for question in questions:
        word = question.strip().lower()
        if word in EXIT_WORDS:
            return
        if word:
            yield question


def path_of_file(line: str) -> Path | None:
    """Return the path that ``/file PATH`` names, with ``~`` and quotes as in a shell; None for a question."""
    if not line.startswith(FILE_COMMAND):
        return None
    typed = line.removeprefix(FILE_COMMAND).strip()
    try:
        [typed] = shlex.split(typed)  # a terminal puts quotes around a name that is dropped on it
    except ValueError:  # several words, or a quote in the name
        pass
    return Path(typed).expanduser()
