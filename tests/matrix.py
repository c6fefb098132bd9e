"""Test matrix of ``make test``: one job after another for each database and service that is available.

    sqlite      always
    redis       if Redis answers, under its own key prefix; on PostgreSQL if that answers too
    postgres    if PostgreSQL answers, without Redis, in its own database, which is dropped at the end:
                all tests, or only the cross-process tests if the redis job runs the others
    nginx       if nginx is installed: the documented proxy in front of a real server
    browser     if Chromium is installed: tests/browser
    timing      if Chromium is installed: its measurements, one test at a time, after all other jobs

``JOBS=sqlite,redis`` selects jobs; a job in ``REQUIRE_JOBS=…`` that cannot run is a failure.
"""

import os
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

from config.environment import Environment
from tests.support import chromium, nginx

ROOT = Path(__file__).resolve().parent.parent
# Connection strings to try in this order, each with libpq's own variables (PGHOST, PGUSER …).
POSTGRES = ["", "host=127.0.0.1", "host=/var/run/postgresql"]
REDIS = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/0")
# Tests of doorbells, locks and counters that processes share.
CROSS_PROCESS_TESTS = [f"tests/{folder}" for folder in ("accounts", "faults", "runs", "socket", "stream")]
# These tests wait for a quarter of their time: three processes keep two cores busy.
THREE_PROCESSES = ["-n3", "--dist=worksteal"]
NGINX_TESTS = "tests/config/test_nginx.py"


class NotHere(Exception):
    """Raised if a job cannot run on this machine; its text is the reason."""


@dataclass
class Job:
    name: str
    outcome: str
    seconds: float = 0.0
    summary: str = field(default="", repr=False)  # pytest's last line

    @property
    def failed(self) -> bool:
        return self.outcome == "FAILED"

    @property
    def ran(self) -> bool:
        return self.outcome in {"passed", "FAILED"}


# --- databases and services -------------------------------------------------------------------


def find_postgres() -> str:
    """Return the connection string of a PostgreSQL user who may create databases, or raise NotHere."""
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
    """Yield the environment of a new database; drop it and the test databases named after it at the end."""
    name = f"parley_matrix_{secrets.token_hex(4)}"
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
    """Return a connected client, or raise NotHere."""
    client = redis.Redis.from_url(REDIS, socket_connect_timeout=3)
    try:
        client.ping()
    except redis.RedisError as error:
        raise NotHere(f"no Redis answers at {REDIS} ({error})") from error
    return client


@contextmanager
def redis_prefix() -> Iterator[dict[str, str]]:
    """Yield the environment of Redis with a new key prefix; delete its keys at the end. Raises NotHere."""
    name = f"parley-matrix-{secrets.token_hex(4)}"
    with find_redis() as client:
        try:
            yield {"REDIS_URL": REDIS, "REDIS_PREFIX": name}
        finally:
            for key in client.scan_iter(f"*{name}*"):
                client.delete(key)


# --- the jobs ---------------------------------------------------------------------------------


def sqlite(stack: ExitStack) -> tuple[list[str], dict[str, str]]:
    return [*THREE_PROCESSES, f"--ignore={NGINX_TESTS}"], {}


def nginx_(stack: ExitStack) -> tuple[list[str], dict[str, str]]:
    if not nginx.nginx():
        raise NotHere(nginx.HINT)
    return [NGINX_TESTS], {}


def postgres(stack: ExitStack) -> tuple[list[str], dict[str, str]]:
    env = stack.enter_context(database(find_postgres()))
    try:
        find_redis().close()
    except NotHere:
        selected = []
    else:
        selected = CROSS_PROCESS_TESTS
    return [*THREE_PROCESSES, "-m", "not any_database", *selected], env


def redis_(stack: ExitStack) -> tuple[list[str], dict[str, str]]:
    env = stack.enter_context(redis_prefix())
    try:
        env |= stack.enter_context(database(find_postgres()))
    except NotHere:
        pass  # Redis with SQLite
    return [*THREE_PROCESSES, "-m", "not any_database"], env


def browser(stack: ExitStack) -> tuple[list[str], dict[str, str]]:
    arguments, env = timing(stack)
    return [*arguments, "-n2", "--dist=worksteal", "-m", "not timing"], env  # the last -m wins


def timing(stack: ExitStack) -> tuple[list[str], dict[str, str]]:
    if not chromium.chromium():
        raise NotHere(chromium.HINT)
    return ["-c", "tests/browser/pytest.ini", "tests/browser", "-m", "timing"], {}


JOBS: dict[str, Callable[[ExitStack], tuple[list[str], dict[str, str]]]] = {
    "sqlite": sqlite,
    "redis": redis_,
    "postgres": postgres,
    "nginx": nginx_,
    "browser": browser,
    "timing": timing,
}


def run_job(name: str) -> Job:
    began = time.monotonic()
    with ExitStack() as stack:
        try:
            arguments, env = JOBS[name](stack)
        except NotHere as reason:
            return Job(name, f"not run: {reason}")
        write_line(f"\n=== job {name}: pytest {' '.join(arguments)}")
        code, summary = pytest(arguments, env)
    return Job(name, "FAILED" if code else "passed", time.monotonic() - began, summary)


def pytest(arguments: list[str], env: dict[str, str]) -> tuple[int, str]:
    """Run pytest and stream its output; return its exit code and its last line."""
    command = [sys.executable, "-m", "pytest", "-q", "--durations=5", *arguments]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment_without_settings() | env, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        output_end = b""
        while piece := process.stdout.read1(65536):  # type: ignore[attr-defined]
            sys.stdout.buffer.write(piece)
            sys.stdout.flush()
            output_end = (output_end + piece)[-4096:]
    return process.returncode, (output_end.decode(errors="replace").strip().splitlines() or [""])[-1]


def setting_names() -> set[str]:
    """Return the environment variables that Parley reads."""
    return set(Environment.model_fields)


def environment_without_settings() -> dict[str, str]:
    """Return this environment without Parley's settings, which the tests set themselves."""
    settings = setting_names() | {"GOOGLE_GEMINI_BASE_URL", "DJANGO_SETTINGS_MODULE"}
    return {name: value for name, value in os.environ.items() if name not in settings}


# --- the command ------------------------------------------------------------------------------


def job_names(variable: str) -> list[str]:
    """Return the job names in a comma-separated environment variable."""
    names = [name.strip() for name in os.environ.get(variable, "").split(",") if name.strip()]
    unknown = set(names) - set(JOBS)
    if unknown:
        sys.exit(f"{variable}: unknown job {', '.join(sorted(unknown))}; the jobs are {', '.join(JOBS)}.")
    return names


def main() -> int:
    selected, required = job_names("JOBS") or list(JOBS), job_names("REQUIRE_JOBS")
    jobs = [run_job(name) if name in selected else Job(name, "not run: not in JOBS") for name in JOBS]
    write_line("\n=== jobs")
    for job in jobs:
        took = f" in {job.seconds:.0f} s   {job.summary}" if job.ran else ""
        write_line(f"{job.name:10}{job.outcome}{took}")
    missing = [job.name for job in jobs if job.name in required and not job.ran]
    if missing:
        write_line(f"Jobs in REQUIRE_JOBS that did not run: {', '.join(missing)}.")
    return 1 if missing or any(job.failed for job in jobs) else 0


def write_line(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
