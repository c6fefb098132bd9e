"""The log: one line an event, with the request and the run it belongs to.

No line holds a query string, a path, a header's content or a message's text. What is written is
made here of known fields; what else libraries hang on a record is left out. An exception that passed an
agent's code or ADK is named by its class: its words may be a member's.
"""

import logging
import re
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any
from uuid import UUID

from pythonjsonlogger.json import JsonFormatter as LibraryJsonFormatter

from chat.instruments.stack import may_quote_people

log = logging.getLogger(__name__)

# What a line of JSON may hold, in this order; docs/operations.md says what each one means.
FIELDS = (
    "time", "level", "logger", "message", "request", "run", "method", "route", "status", "duration_ms",
    "bytes", "member", "agent", "exception",
)  # fmt: skip
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
NOT_A_REPR = re.compile(r"[^(<\n]*")
# The loggers that write the words of an exception. Libraries log those of an agent's code, too.
SPEAK_PLAINLY = {"accounts", "chat", "config", "django"}
REASON_LENGTH = 300  # characters of an exception's own words


@dataclass(slots=True)
class Note:
    """What is known of the request that is being answered."""

    id: str
    run: str = ""
    request: Any = None  # Django's, once there is one


_note: ContextVar[Note | None] = ContextVar("note", default=None)
_run: ContextVar[str] = ContextVar("run", default="")


@contextmanager
def answering(note: Note) -> Iterator[None]:
    """Lines written in here belong to this request."""
    token = _note.set(note)
    try:
        yield
    finally:
        _note.reset(token)


def executing(run_id: UUID) -> None:
    """Lines that this task writes from now on belong to the run."""
    _run.set(str(run_id))


def asked_of(run_id: UUID) -> None:
    """The request that is being answered is about this run."""
    if note := _note.get():
        note.run = str(run_id)


def seen(request: Any) -> None:
    """The request as Django knows it."""
    if note := _note.get():
        note.request = request


def tell_uncaught() -> None:
    """Log what threads and finalizers raise from now on: Python prints it to stderr, words and all."""

    def in_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
            _tell_uncaught("A thread ended by %s", args.exc_value)

    def in_finalizer(args: "sys.UnraisableHookArgs") -> None:
        if args.exc_value is not None:
            _tell_uncaught("Python ignored %s", args.exc_value)

    threading.excepthook = in_thread
    sys.unraisablehook = in_finalizer


def _tell_uncaught(message: str, error: BaseException) -> None:
    fields = {"exception": exception_of(error, words=False)}
    log.error(message, type(error).__name__, extra={"fields": fields})


def route_of(request: Any) -> str:
    """The pattern that a request's path matched, empty where none did: never the path itself, in which
    set-up links and password resets carry their secrets.
    """
    match = getattr(request, "resolver_match", None)
    return match.route if match else ""


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """The fields of one line. A field that says nothing is left out."""
    note = _note.get()
    found = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname,
        "logger": record.name,
        "message": message_of(record),
        "request": note.id if note else "",
        "run": _run.get() or (note.run if note else ""),
        **getattr(record, "fields", {}),
    }
    if record.exc_info and record.exc_info[1]:
        found["exception"] = exception_of(record.exc_info[1], words=_may_say_words(record))
    return {name: found[name] for name in FIELDS if found.get(name) not in ("", None)}


def message_of(record: logging.LogRecord) -> str:
    """Django's own lines about a request hold its path, or the header that is wrong: the route instead."""
    if hasattr(record, "request"):
        said = record.args[0] if isinstance(record.args, tuple) and record.args else "Refused"
        return f"{said}: {route_of(record.request)}"
    if record.name == "asyncio":  # the rest is the repr of a task, its exception and a callback's arguments
        return NOT_A_REPR.match(record.getMessage())[0].rstrip()  # type: ignore[index]
    return record.getMessage()


def _may_say_words(record: logging.LogRecord) -> bool:
    """Return whether the words of its exception can be written: they are Parley's or Django's own."""
    assert record.exc_info and record.exc_info[1]
    return record.name.partition(".")[0] in SPEAK_PLAINLY and not may_quote_people(record.exc_info[1])


def exception_of(error: BaseException, told: tuple[BaseException, ...] = (), *, words: bool = True) -> str:
    """The traceback, of each exception the first line alone: behind it databases show the row that they
    refuse, and pydantic its input. Of a circle of exceptions each is told once. Without ``words`` the
    first line is the exception's class.
    """
    told = (*told, error)
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    lines = [exception_of(before, told, words=words), ""] if before and before not in told else []
    last_line = _last_line(error) if words else _class_of(error)
    lines += ["Traceback (most recent call last):", *_frames(error.__traceback__), last_line]
    for inner in getattr(error, "exceptions", ()):
        if inner not in told:
            lines.append(exception_of(inner, told, words=words))
    return "\n".join(lines)


def _frames(frames: TracebackType | None) -> list[str]:
    return [line.rstrip("\n") for line in traceback.format_tb(frames)]


def _last_line(error: BaseException) -> str:
    name = _class_of(error)
    # A SuspiciousOperation's words are the request's own: a Host header, a cookie.
    suspicious = any(kind.__name__ == "SuspiciousOperation" for kind in type(error).__mro__)
    words = "" if suspicious else str(error).split("\n", maxsplit=1)[0][:REASON_LENGTH]
    return f"{name}: {words}" if words else name


def _class_of(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}"


class JsonFormatter(LibraryJsonFormatter):
    """One JSON object a line."""

    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        log_data |= fields_of(record)


class TextFormatter(logging.Formatter):
    """The same for eyes: the message, who it belongs to, and an exception's lines set in."""

    def format(self, record: logging.LogRecord) -> str:
        found = fields_of(record)
        where = " ".join(f"{name}={found[name]}" for name in ("request", "run") if name in found)
        line = "{time} {level} {logger}: {message}".format(**found) + (f" [{where}]" if where else "")
        lines = [line, *("    " + each for each in found.get("exception", "").splitlines())]
        return "\n".join(CONTROL.sub(_escaped, each) for each in lines)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
