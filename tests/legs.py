"""``make test``: the tests on each database and service that is there, one leg after the other.

    sqlite      always
    redis       where Redis answers, under a prefix of its own; with PostgreSQL where that is there
    postgres    where PostgreSQL answers, without Redis: all of it, or, where the leg above has run it,
                what goes between processes; in a database of its own, which is dropped in the end
    nginx       where nginx is: the documented proxy before a real server
    browser     where Chromium is: tests/browser
    timing      there, too: what is measured, one test at a time after all the others

``LEGS=sqlite,redis`` chooses some of them; ``REQUIRE_LEGS=…`` makes one that cannot run a failure.
"""

import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import psycopg
import redis

from tests import chromium, nginx

ROOT = Path(__file__).resolve().parent.parent
# What is asked about PostgreSQL besides libpq's own variables (PGHOST, PGUSER …), in this order.
POSTGRES = ["", "host=127.0.0.1", "host=/var/run/postgresql"]
REDIS = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/0")
# What bells, locks and counts that processes share have to do with.
BETWEEN_PROCESSES = [
    "tests/faults",
    *(
        f"tests/test_{name}.py"
        for name in ("accounts", "following", "idempotency", "socket", "stopping", "stream", "supervisor")
    ),
]
# A quarter of these tests' time is spent waiting: three at once keep two cores at work.
THREE = ["-n3", "--dist=worksteal"]
BEHIND_NGINX = "tests/test_nginx.py"


class NotHere(Exception):
    """A leg cannot run on this machine; its text is the reason."""


@dataclass
class Leg:
    name: str
    outcome: str
    seconds: float = 0.0
    closing: str = field(default="", repr=False)  # pytest's last line

    @property
    def failed(self) -> bool:
        return self.outcome == "FAILED"

    @property
    def ran(self) -> bool:
        return self.outcome in {"passed", "FAILED"}


# --- what is here -----------------------------------------------------------------------------


def find_postgres() -> str:
    """How to connect to PostgreSQL as somebody who may create databases. Raises NotHere."""
    reason = ""
    for place in POSTGRES:
        try:
            with psycopg.connect(f"{place} dbname=postgres connect_timeout=3") as admin:
                row = admin.execute(
                    "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"
                ).fetchone()
                if row and row[0]:
                    return place
                reason = f"PostgreSQL does not let {admin.info.user} create a database"
        except psycopg.OperationalError as error:
            reason = reason or f"no PostgreSQL answers ({str(error).splitlines()[0]})"
    raise NotHere(reason)


@contextmanager
def database(place: str) -> Iterator[dict[str, str]]:
    """The environment that names a new database; it, and what tests made beside it, goes in the end."""
    name = f"parley_legs_{secrets.token_hex(4)}"
    with psycopg.connect(f"{place} dbname=postgres", autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        info = admin.info
        user = quote(info.user) + (f":{quote(info.password, safe='')}" if info.password else "")
        url = f"postgres://{user}@{quote(info.host, safe='')}:{info.port}/{name}"
    try:
        yield {"DATABASE_URL": url}
    finally:
        with psycopg.connect(f"{place} dbname=postgres", autocommit=True) as admin:
            ours = admin.execute("SELECT datname FROM pg_database WHERE datname LIKE %s", [f"%{name}%"])
            for (left,) in ours.fetchall():
                admin.execute(f'DROP DATABASE "{left}" WITH (FORCE)')


def find_redis() -> redis.Redis:
    """A client. Raises NotHere."""
    client = redis.Redis.from_url(REDIS, socket_connect_timeout=3)
    try:
        client.ping()
    except redis.RedisError as error:
        raise NotHere(f"no Redis answers at {REDIS} ({error})") from error
    return client


@contextmanager
def prefix() -> Iterator[dict[str, str]]:
    """The environment that names Redis and a prefix; its keys go in the end. Raises NotHere."""
    name = f"parley-legs-{secrets.token_hex(4)}"
    with find_redis() as client:
        try:
            yield {"REDIS_URL": REDIS, "REDIS_PREFIX": name}
        finally:
            for key in client.scan_iter(f"*{name}*"):
                client.delete(key)


# --- the legs ---------------------------------------------------------------------------------


def sqlite(stack: ExitStack) -> tuple[list[str], dict[str, str]]:
    return [*THREE, f"--ignore={BEHIND_NGINX}"], {}


def nginx_(stack: ExitStack) -> tuple[list[str], dict[str, str]]:
    if not nginx.nginx():
        raise NotHere(nginx.HINT)
    return [BEHIND_NGINX], {}


def postgres(stack: ExitStack) -> tuple[list[str], dict[str, str]]:
    env = stack.enter_context(database(find_postgres()))
    try:
        find_redis().close()
    except NotHere:
        chosen = []
    else:
        chosen = BETWEEN_PROCESSES
    return [*THREE, "-m", "not any_database", *chosen], env


def redis_(stack: ExitStack) -> tuple[list[str], dict[str, str]]:
    env = stack.enter_context(prefix())
    try:
        env |= stack.enter_context(database(find_postgres()))
    except NotHere:
        pass  # then SQLite and Redis
    return [*THREE, "-m", "not any_database"], env


def browser(stack: ExitStack) -> tuple[list[str], dict[str, str]]:
    arguments, env = timing(stack)
    return [*arguments, "-n2", "--dist=worksteal", "-m", "not timing"], env  # the last -m holds


def timing(stack: ExitStack) -> tuple[list[str], dict[str, str]]:
    if not chromium.chromium():
        raise NotHere(chromium.HINT)
    return ["-c", "tests/browser/pytest.ini", "tests/browser", "-m", "timing"], {}


LEGS: dict[str, Callable[[ExitStack], tuple[list[str], dict[str, str]]]] = {
    "sqlite": sqlite,
    "redis": redis_,
    "postgres": postgres,
    "nginx": nginx_,
    "browser": browser,
    "timing": timing,
}


def run_leg(name: str) -> Leg:
    began = time.monotonic()
    with ExitStack() as stack:
        try:
            arguments, env = LEGS[name](stack)
        except NotHere as reason:
            return Leg(name, f"not run: {reason}")
        say(f"\n=== leg {name}: pytest {' '.join(arguments)}")
        code, closing = pytest(arguments, env)
    return Leg(name, "FAILED" if code else "passed", time.monotonic() - began, closing)


def pytest(arguments: list[str], env: dict[str, str]) -> tuple[int, str]:
    """Run pytest, showing what it says as it says it. Returns its exit code and its last line."""
    command = [sys.executable, "-m", "pytest", "-q", "--durations=5", *arguments]
    with subprocess.Popen(command, cwd=ROOT, env=bare() | env, stdout=subprocess.PIPE) as process:
        assert process.stdout
        said = b""
        while piece := process.stdout.read1(65536):  # type: ignore[attr-defined]
            sys.stdout.buffer.write(piece)
            sys.stdout.flush()
            said = (said + piece)[-4096:]
    return process.returncode, (said.decode(errors="replace").strip().splitlines() or [""])[-1]


def setting_names() -> set[str]:
    """The variables that config/settings.py reads."""
    source = (ROOT / "config" / "settings.py").read_text()
    return set(re.findall(r"\benv\.\w+\(\s*\"([A-Z][A-Z0-9_]*)\"", source))


def bare() -> dict[str, str]:
    """This environment without settings of Parley's: those are the tests'."""
    ours = setting_names() | {"GOOGLE_GEMINI_BASE_URL", "DJANGO_SETTINGS_MODULE"}
    return {name: value for name, value in os.environ.items() if name not in ours}


# --- the command ------------------------------------------------------------------------------


def named(variable: str) -> list[str]:
    names = [name.strip() for name in os.environ.get(variable, "").split(",") if name.strip()]
    unknown = set(names) - set(LEGS)
    if unknown:
        sys.exit(f"{variable}: there is no leg {', '.join(sorted(unknown))}; there are {', '.join(LEGS)}.")
    return names


def main() -> int:
    chosen, required = named("LEGS") or list(LEGS), named("REQUIRE_LEGS")
    legs = [run_leg(name) if name in chosen else Leg(name, "not run: LEGS leaves it out") for name in LEGS]
    say("\n=== legs")
    for leg in legs:
        took = f" in {leg.seconds:.0f} s   {leg.closing}" if leg.ran else ""
        say(f"{leg.name:10}{leg.outcome}{took}")
    missing = [leg.name for leg in legs if leg.name in required and not leg.ran]
    if missing:
        say(f"REQUIRE_LEGS asks for {', '.join(missing)}, which did not run.")
    return 1 if missing or any(leg.failed for leg in legs) else 0


def say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
