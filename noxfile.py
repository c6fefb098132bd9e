"""Jobs of ``make test``, one after another, for each database and service that is available.

``JOBS=sqlite,redis`` selects jobs; a job in ``REQUIRE_JOBS=…`` that cannot run is a failure.
``.venv/bin/python -m nox -s sqlite -- tests/runs -x`` selects a job and gives pytest more arguments.
"""

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import wraps

import nox

from config.environment import Environment
from tests.support import chromium, services
from tests.support import nginx as nginx_

# Tests of doorbells, locks and counters that processes share.
CROSS_PROCESS_TESTS = [f"tests/{folder}" for folder in ("accounts", "faults", "runs", "socket", "stream")]
# These tests wait for a quarter of their time: three processes keep two cores busy.
THREE_PROCESSES = ["-n3", "--dist=worksteal"]
NGINX_TESTS = "tests/config/test_nginx.py"
BROWSER_TESTS = ["-c", "tests/browser/pytest.ini", "tests/browser"]
JOBS = ["sqlite", "redis", "postgres", "nginx", "browser", "removals", "timing"]


def job_names(variable: str) -> list[str]:
    """Return the job names in a comma-separated environment variable."""
    return [name.strip() for name in os.environ.get(variable, "").split(",") if name.strip()]


nox.options.sessions = job_names("JOBS") or JOBS
REQUIRED = set(job_names("REQUIRE_JOBS"))
if unselected := REQUIRED - set(nox.options.sessions):
    sys.exit(f"REQUIRE_JOBS names jobs that would not run: {', '.join(sorted(unselected))}.")


def job(function: Callable[[nox.Session], None]) -> Callable[[nox.Session], None]:
    """Make a session in the locked .venv that is skipped, or fails if required, on NotHere."""

    @nox.session(venv_backend="none")
    @wraps(function)
    def run(session: nox.Session) -> None:
        try:
            function(session)
        except services.NotHere as reason:
            (session.error if session.name in REQUIRED else session.skip)(str(reason))

    return run


@job
def sqlite(session: nox.Session) -> None:
    """Run all tests on SQLite."""
    pytest(session, {}, *THREE_PROCESSES, f"--ignore={NGINX_TESTS}")


@job
def redis(session: nox.Session) -> None:
    """Run all tests with Redis, on PostgreSQL if that answers too."""
    with ExitStack() as stack:
        env = stack.enter_context(services.redis_prefix())
        with suppress(services.NotHere):
            env |= stack.enter_context(services.database(services.find_postgres()))
        pytest(session, env, *THREE_PROCESSES, "-m", "not any_database")


@job
def postgres(session: nox.Session) -> None:
    """Run all tests on PostgreSQL, or only the cross-process tests if the redis job runs the others."""
    selected = []
    with suppress(services.NotHere):
        services.find_redis().close()
        selected = CROSS_PROCESS_TESTS
    with services.database(services.find_postgres()) as env:
        pytest(session, env, *THREE_PROCESSES, "-m", "not any_database", *selected)


@job
def nginx(session: nox.Session) -> None:
    """Run the tests of the documented proxy in front of a real server, if nginx is installed."""
    need(nginx_.nginx(), nginx_.HINT)
    pytest(session, {}, NGINX_TESTS)


@job
def browser(session: nox.Session) -> None:
    """Run the tests in Chromium, if it is installed."""
    need(chromium.chromium(), chromium.HINT)
    pytest(session, {}, *BROWSER_TESTS, "-n2", "--dist=worksteal", "-m", "not timing")


@job
def removals(session: nox.Session) -> None:
    """Check that browser tests notice the loss of what they test: a sample of tools/removals.py."""
    need(chromium.chromium(), chromium.HINT)
    session.run(sys.executable, "-m", "tools.removals", "--sample", "8")


@job
def timing(session: nox.Session) -> None:
    """Run the measurements in Chromium, one test at a time, after all other jobs."""
    need(chromium.chromium(), chromium.HINT)
    pytest(session, {}, *BROWSER_TESTS, "-m", "timing")


def need(program: str | None, hint: str) -> None:
    if not program:
        raise services.NotHere(hint)


def pytest(session: nox.Session, env: dict[str, str], *arguments: str) -> None:
    """Run pytest in this environment without Parley's settings, which the tests set themselves."""
    settings = {*Environment.model_fields, "GOOGLE_GEMINI_BASE_URL", "DJANGO_SETTINGS_MODULE"}
    command = [sys.executable, "-m", "pytest", "-q", "--durations=5", *arguments, *session.posargs]
    # After Ctrl-C, wait for pytest to end, which removes its databases.
    session.run(*command, env=dict.fromkeys(settings) | env, interrupt_timeout=None)
