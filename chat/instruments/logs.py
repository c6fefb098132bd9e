"""Log formatters: one line for each event, with its request and run.

No line holds a query string, a path, a header's value or a message's text. Lines have only the fields listed
here, and no other attributes of a record. The message of an exception that passed an agent's code or ADK may
quote a member: the line has its class only.
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
from typing import Any
from uuid import UUID

from pythonjsonlogger.json import JsonFormatter as LibraryJsonFormatter

from chat.instruments.stack import may_quote_people

log = logging.getLogger(__name__)

# Fields of a line of JSON, in this order. docs/operations.md describes them.
FIELDS = (
    "time", "level", "logger", "message", "request", "run", "method", "route", "status", "duration_ms",
    "bytes", "member", "agent", "exception",
)  # fmt: skip
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
BEFORE_REPR = re.compile(r"[^(<\n]*")
# Loggers that write the message of an exception. Libraries also log exceptions of agents' code.
OWN_LOGGERS = {"accounts", "chat", "config", "django"}
REASON_LENGTH = 300  # characters of an exception's message


@dataclass(slots=True)
class RequestInfo:
    """Facts about the current request."""

    id: str
    run: str = ""
    request: Any = None  # Django's HttpRequest, from its creation to ``release``
    route: str = ""  # from ``release`` on
    member: str = ""

    def release(self) -> None:
        """Keep the route and the member instead of Django's request, which takes 10 KiB."""
        if self.request is not None:
            self.route, self.member = route_of(self.request), _member_of(self.request)
            self.request = None


_request_info: ContextVar[RequestInfo | None] = ContextVar("request_info", default=None)
_run: ContextVar[str] = ContextVar("run", default="")


@contextmanager
def request_context(info: RequestInfo) -> Iterator[None]:
    """Assign the log lines inside the block to this request."""
    token = _request_info.set(info)
    try:
        yield
    finally:
        _request_info.reset(token)


def set_task_run(run_id: UUID) -> None:
    """Assign all further log lines of this task to the run."""
    _run.set(str(run_id))


def request_id() -> str:
    """Return the id of the current request; empty outside of one."""
    info = _request_info.get()
    return info.id if info else ""


def set_request_run(run_id: UUID) -> None:
    """Assign the log lines of the current request to this run, too."""
    if info := _request_info.get():
        info.run = str(run_id)


def set_request(request: Any) -> None:
    """Store Django's HttpRequest for the log lines of the current request."""
    if info := _request_info.get():
        info.request = request


def release_request() -> None:
    """Release Django's HttpRequest for the rest of the current request, such as a stream."""
    if info := _request_info.get():
        info.release()


def log_uncaught() -> None:
    """Log uncaught exceptions of threads and finalizers, without their messages, which Python would print."""

    def in_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
            _log_uncaught("A thread ended by %s", args.exc_value)

    def in_finalizer(args: "sys.UnraisableHookArgs") -> None:
        if args.exc_value is not None:
            _log_uncaught("Python ignored %s", args.exc_value)

    threading.excepthook = in_thread
    sys.unraisablehook = in_finalizer


def _log_uncaught(message: str, error: BaseException) -> None:
    fields = {"exception": exception_of(error, with_message=False)}
    log.error(message, type(error).__name__, extra={"fields": fields})


def route_of(request: Any) -> str:
    """Return the URL pattern that a request's path matched, empty if none did."""
    # Never the path itself: set-up links and password resets have secrets in it.
    match = getattr(request, "resolver_match", None)
    return match.route if match else ""


def _member_of(request: Any) -> str:
    """Return the key of the user that Django looked up for the request; the log looks up none."""
    user = getattr(request, "_cached_user", None)
    return str(user.pk) if user is not None and user.pk is not None else ""


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return the fields of one line, without empty ones."""
    info = _request_info.get()
    found = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname,
        "logger": record.name,
        "message": message_of(record),
        "request": info.id if info else "",
        "run": _run.get() or (info.run if info else ""),
        **getattr(record, "fields", {}),
    }
    if record.exc_info and record.exc_info[1]:
        found["exception"] = exception_of(record.exc_info[1], with_message=_may_show_message(record))
    return {name: found[name] for name in FIELDS if found.get(name) not in ("", None)}


def message_of(record: logging.LogRecord) -> str:
    """Return the message of a line, without a path, a header or the repr of a task."""
    if hasattr(record, "request"):  # Django's lines have the path, or the invalid header
        reason = record.args[0] if isinstance(record.args, tuple) and record.args else "Refused"
        return f"{reason}: {route_of(record.request)}"
    if record.name == "asyncio":  # reprs of a task, its exception and a callback's arguments follow
        return BEFORE_REPR.match(record.getMessage())[0].rstrip()  # type: ignore[index]
    return record.getMessage()


def _may_show_message(record: logging.LogRecord) -> bool:
    """Return whether the message of its exception is Parley's or Django's own."""
    assert record.exc_info and record.exc_info[1]
    return record.name.partition(".")[0] in OWN_LOGGERS and not may_quote_people(record.exc_info[1])


def exception_of(
    error: BaseException, seen: tuple[BaseException, ...] = (), *, with_message: bool = True
) -> str:
    """Return the traceback, with the first line of each exception's message, or its class only.

    ``seen`` are exceptions to leave out, so that a cycle ends.
    """
    seen = (*seen, error)
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    lines = (
        [exception_of(before, seen, with_message=with_message), ""] if before and before not in seen else []
    )
    lines += ["Traceback (most recent call last):"]
    lines += [line.rstrip("\n") for line in traceback.format_tb(error.__traceback__)]
    lines += [_last_line(error) if with_message else _class_of(error)]
    for inner in getattr(error, "exceptions", ()):
        if inner not in seen:
            lines.append(exception_of(inner, seen, with_message=with_message))
    return "\n".join(lines)


def _last_line(error: BaseException) -> str:
    name = _class_of(error)
    # The message of a SuspiciousOperation quotes the request: a Host header, a cookie.
    suspicious = any(kind.__name__ == "SuspiciousOperation" for kind in type(error).__mro__)
    # The further lines quote data: a database's message the refused row, pydantic's its input.
    message = "" if suspicious else str(error).split("\n", maxsplit=1)[0][:REASON_LENGTH]
    return f"{name}: {message}" if message else name


def _class_of(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}"


class JsonFormatter(LibraryJsonFormatter):
    """Formatter for log collectors: one JSON object a line."""

    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        log_data |= fields_of(record)


class TextFormatter(logging.Formatter):
    """Formatter for a terminal: the message, its request and run, and the exception on indented lines."""

    def format(self, record: logging.LogRecord) -> str:
        found = fields_of(record)
        where = " ".join(f"{name}={found[name]}" for name in ("request", "run") if name in found)
        line = "{time} {level} {logger}: {message}".format(**found) + (f" [{where}]" if where else "")
        lines = [line, *("    " + each for each in found.get("exception", "").splitlines())]
        return "\n".join(CONTROL.sub(_escaped, each) for each in lines)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
