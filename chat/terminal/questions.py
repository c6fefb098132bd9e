"""Where questions come from: the keyboard, a pipe, the demonstration."""

import sys
from collections.abc import Iterable, Iterator
from typing import IO

from django.utils.translation import gettext as _

from chat.terminal.stderr import Margin

# The tutorial's own, word for word: they are asked of a model, in its language.
DEMO = (
    "Hello! What can you help me with?",
    "Explain quantum computing in simple terms",
    "What are the practical applications?",
    "How does it compare to classical computing?",
)
LEAVING = {"exit", "quit"}


def piped(lines: Iterable[bytes]) -> Iterator[str]:
    """One question a line; bytes that are not UTF-8 become lone surrogates, which are refused."""
    for line in lines:
        yield line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8", "surrogateescape")


def typed(stdin: IO[str], margin: Margin) -> Iterator[str]:
    """What is typed at the prompt, until Ctrl-D or Ctrl-C there."""
    _remember_lines()
    while True:
        try:
            yield _prompted(stdin)
        except UnicodeDecodeError:
            margin.say(_("That is not UTF-8."))
        except (EOFError, KeyboardInterrupt):
            sys.stderr.write("\n")
            return


def _prompted(stdin: IO[str]) -> str:
    if sys.stdout.isatty():
        sys.stdout.write("\n")
        return input(_("You: "))
    sys.stderr.write(_("You: "))
    sys.stderr.flush()
    line = stdin.readline()
    if not line:
        raise EOFError
    return line.removesuffix("\n")


def _remember_lines() -> None:
    """Importing readline is enough: it edits, and remembers for as long as the command runs.

    Nothing is written to a file: what people ask is in the database, and nowhere else.
    """
    try:
        import readline  # noqa: F401
    except ImportError:  # a Python without it: lines are typed as the terminal lets one
        pass


def until_left(questions: Iterable[str]) -> Iterator[str]:
    """The questions up to ``exit`` or ``quit``; empty lines ask nothing."""
    for question in questions:
        word = question.strip().lower()
        if word in LEAVING:
            return
        if word:
            yield question
