"""A server with a new database and signed-in members, in front of a fake model, for one benchmark."""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import request
from benchmarks.processes import ROOT, Cores, Process
from benchmarks.targets.base import free_port
from tests.support.services import NotHere, database, find_postgres, redis_prefix

CSRF = "benchmarks" + "0" * 22  # any value: the server only compares header and cookie
READY_SECONDS = 60


@dataclass(frozen=True, slots=True)
class TemporarySite:
    """The measured server, and the session keys of its members."""

    server: Process
    port: int
    model_line: str  # that the model has written when it started
    keys: list[str]

    def cookies(self, member: int) -> str:
        return f"sessionid={self.keys[member]}; csrftoken={CSRF}"

    def headers(self, member: int) -> dict[str, str]:
        return {"Cookie": self.cookies(member), "X-CSRFToken": CSRF}


@asynccontextmanager
async def temporary_site(
    engine: str,
    members: int,
    *,
    model: str,
    model_env: Callable[[str], Mapping[str, str]],
    **variables: str,
) -> AsyncIterator[TemporarySite]:
    """Start a model and a server with a new database; stop them and remove everything at the end.

    ``model`` is a module. ``model_env`` returns the variables with which the server finds it, from the line
    that it writes; ``variables`` are further ones of the server.
    """
    cores = Cores.here()
    cores.leave_measured_core()
    port = free_port()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="parley-bench-")))
        env = {
            "DATA_DIR": str(folder / "data"),
            "ENV_FILE": os.devnull,
            "PORT": str(port),
            "LIMITS": "off",
            "TITLES": "first-words",
            **variables,
        }
        if engine == "postgresql":
            env |= stack.enter_context(database(find_postgres()))
            with suppress(NotHere):
                env |= stack.enter_context(redis_prefix())
        (folder / "data").mkdir()
        run_command(env, "manage.py", "prepare")
        keys = json.loads(run_command(env, "-m", "benchmarks.members", str(members)))
        started = await Process(["-m", model], folder / "model.log").start()
        try:
            line = await started.line()
            server = Process(["manage.py", "serve"], folder / "server.log", **env, **model_env(line))
            with cores.for_measured():
                await server.start()
            try:
                await wait_until_ready(server, port)
                yield TemporarySite(server, port, line, keys)
            finally:
                await server.stop()
        finally:
            await started.stop()


def run_command(env: dict[str, str], *arguments: str) -> str:
    env = {"PATH": os.environ["PATH"], **env}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed:\n{done.stderr}")
    return done.stdout


async def wait_until_ready(server: Process, port: int) -> None:
    async with asyncio.timeout(READY_SECONDS):
        while True:
            server.check_alive()
            with suppress(OSError):  # not listening yet
                if (await request(port, "GET", "/readyz")).status == 200:
                    return
            await asyncio.sleep(0.05)
