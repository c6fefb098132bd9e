"""Files that one plain text turn enters, and the path of its ask: ``python -m tools.hops``.

A turn is measured, not read: the demo model answers a second question of a conversation in a new database,
and every call of a function of the product is recorded, on all threads. Other processes are not seen.
"""

import asyncio
import json
import os
import sys
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = tuple(f"{ROOT}/{folder}/" for folder in ("accounts", "chat", "config"))
LIBRARY = "accounts/statements.py"  # is to the reader what Django's ORM is, which is not recorded either
ASK = "_ask_by_post"  # the function that a thread runs for POST /chat/stream
LAUNCH = "_launch"  # what the same thread calls after the commit: it belongs to the run


@dataclass
class Trace:
    """Calls of the product's functions, by file."""

    files: set[str] = field(default_factory=set)
    ask: list[str] = field(default_factory=list)  # the file of each call, in order
    _ask_thread: int | None = None

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        """Record a call; a function for ``sys.setprofile``."""
        code = frame.f_code
        if not code.co_filename.startswith(PRODUCT) or code.co_name == "<module>":
            return
        file = code.co_filename.removeprefix(f"{ROOT}/")
        if file == LIBRARY:
            return
        if (event == "return" and code.co_name == ASK) or code.co_name == LAUNCH:
            self._ask_thread = None
        if event != "call":
            return
        self.files.add(file)
        if code.co_name == ASK:
            self._ask_thread = threading.get_ident()
        if threading.get_ident() == self._ask_thread:
            self.ask.append(file)


def visits(files: Iterable[str]) -> list[str]:
    """Return the files without repetitions in a row: each is one visit."""
    found: list[str] = []
    for file in files:
        if found[-1:] != [file]:
            found.append(file)
    return found


def figures() -> tuple[dict[str, int], Trace]:
    """Run two turns in this process, and return the second one's figures and trace. Call it once."""
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "DATA_DIR": tempfile.mkdtemp(prefix="parley-hops-"),
        "ENV_FILE": os.devnull,
        "DEMO_DELAY_SECONDS": "0",
        "HEARTBEAT_SECONDS": "600",  # none while the turn is measured
        "DEAD_AFTER_SECONDS": "1800",
    }
    for name in ("DATABASE_URL", "REDIS_URL", "AGENTS_DIR", "GOOGLE_API_KEY", "GEMINI_API_KEY"):
        os.environ.pop(name, None)
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
    trace = Trace()
    asyncio.run(_two_turns(trace))
    path = visits(trace.ask)
    return {
        "files that a plain text turn enters": len(trace.files),
        "files that its ask enters": len(set(path)),
        "visits of the ask to a file": len(path),
        "returns of the ask to a file already left": len(path) - len(set(path)),
    }, trace


async def _two_turns(trace: Trace) -> None:
    from asgiref.sync import sync_to_async

    from chat.database import run_db
    from chat.runs.supervisor import supervisor

    cookies = await sync_to_async(_signed_in_member)()
    await supervisor.start()
    started = await _ask({"query": "Hello"}, cookies)
    for profile in (trace, None):  # in the threads that exist, and in new ones
        threading.setprofile(profile)
        await run_db(sys.setprofile, profile)
        await sync_to_async(sys.setprofile)(profile)
        sys.setprofile(profile)
        if profile:
            await _ask({"query": "And again", "conversation": started["conversation"]}, cookies)
            await supervisor.idle()
    await supervisor.shut_down()


def _signed_in_member() -> str:
    """Return the Cookie header of a new member."""
    from django.conf import settings
    from django.test import Client

    from accounts.models import User

    browser = Client()
    browser.force_login(User.objects.create_user("alice"), settings.AUTHENTICATION_BACKENDS[0])
    session = browser.cookies[settings.SESSION_COOKIE_NAME].value
    return f"{settings.SESSION_COOKIE_NAME}={session}; {settings.CSRF_COOKIE_NAME}={'a' * 32}"


async def _ask(body: dict[str, str], cookies: str) -> dict[str, Any]:
    """Post an ask, read its stream to the end, and return the data of its first frame."""
    from asgiref.testing import ApplicationCommunicator

    from config.asgi import application

    headers = {"host": "localhost", "content-type": "application/json", "cookie": cookies}
    headers["x-csrftoken"] = "a" * 32
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/chat/stream",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
    }
    exchange: Any = ApplicationCommunicator(application, scope)  # type: ignore[no-untyped-call]
    await exchange.send_input({"type": "http.request", "body": json.dumps(body).encode()})
    await exchange.receive_output(60)  # the headers
    read, more = b"", True
    while more:
        message = await exchange.receive_output(60)
        read += message.get("body", b"")
        more = message.get("more_body", False)
    if b"[DONE]" not in read:
        raise RuntimeError(f"The ask was not answered: {read!r}")
    data: dict[str, Any] = json.loads(read.split(b"data: ")[1].split(b"\n")[0])
    return data


def main() -> None:
    """Print the figures, the path of the ask, and the files of the turn."""
    found, trace = figures()
    for name, value in found.items():
        print(f"{value:4} {name}")
    print("\nThe ask:", " → ".join(visits(trace.ask)))
    print("\nThe turn:", *sorted(trace.files), sep="\n  ")


if __name__ == "__main__":
    main()
