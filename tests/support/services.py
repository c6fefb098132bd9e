"""A new database and a new Redis key prefix for tests or benchmarks, removed at the end."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import psycopg
import redis

# Connection strings to try in this order, each with libpq's own variables (PGHOST, PGUSER …).
POSTGRES = ["", "host=127.0.0.1", "host=/var/run/postgresql"]
REDIS = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/0")


class NotHere(Exception):
    """Raised if this machine lacks a service; its text is the reason."""


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
    name = f"parley_test_{secrets.token_hex(4)}"
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
    name = f"parley-test-{secrets.token_hex(4)}"
    with find_redis() as client:
        try:
            yield {"REDIS_URL": REDIS, "REDIS_PREFIX": name}
        finally:
            for key in client.scan_iter(f"*{name}*"):
                client.delete(key)
