"""A separate database for each server that these tests kill."""

import os
import secrets
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from django.conf import settings


@pytest.fixture
def live_database() -> Iterator[dict[str, str]]:
    """Yield the environment of a new database and Redis prefix; on SQLite, the data folder has the file."""
    redis = {
        "REDIS_URL": settings.REDIS_URL,
        "REDIS_PREFIX": f"{settings.REDIS_PREFIX}-{secrets.token_hex(4)}",
    }
    env = redis if settings.REDIS_URL else {}
    if settings.ON_SQLITE:
        yield env
        return
    url = os.environ["DATABASE_URL"]
    name = f"parley_live_{secrets.token_hex(6)}"
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
    try:
        yield {"DATABASE_URL": urlunsplit(urlsplit(url)._replace(path=f"/{name}")), **env}
    finally:
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
