"""Sources of questions: the keyboard, a pipe, the demonstration."""

import sys
from collections.abc import Iterable, Iterator
from typing import IO

from django.utils.translation import gettext as _

from chat.terminal.stderr import Stderr

# The tutorial's questions, unchanged. Not translated: they are input of the model.
DEMO_QUESTIONS = (
    "Hello! What can you help me with?",
    "Explain quantum computing in simple terms",
    "What are the practical applications?",
    "How does it compare to classical computing?",
)
EXIT_WORDS = {"exit", "quit"}


def piped_questions(lines: Iterable[bytes]) -> Iterator[str]:
    """Yield each line as a question; bytes that are not UTF-8 become lone surrogates."""
    for line in lines:
        yield line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8", "surrogateescape")


def typed_questions(stdin: IO[str], stderr: Stderr) -> Iterator[str]:
    """Yield each line typed at the prompt, until Ctrl-D or Ctrl-C."""
    # Importing readline enables line editing and a history in memory. There is no history file: questions
    # are stored in the database and nowhere else.
    try:
        import readline  # noqa: F401
    except ImportError:  # a Python without it: the terminal's own line editing
        pass
    while True:
        try:
            yield _prompt(stdin)
        except UnicodeDecodeError:
            stderr.message(_("That is not UTF-8."))
        except (EOFError, KeyboardInterrupt):
            sys.stderr.write("\n")
            return


def _prompt(stdin: IO[str]) -> str:
    if sys.stdout.isatty():
        sys.stdout.write("\n")
        return input(_("You: "))
    sys.stderr.write(_("You: "))
    sys.stderr.flush()
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
