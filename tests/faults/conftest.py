"""A separate database for each server that these tests kill."""

import os
import secrets
from collections.abc import Iterator

import pytest
from django.conf import settings

from tests.support.live import new_database


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
    with new_database(os.environ["DATABASE_URL"]) as url:
        yield {"DATABASE_URL": url, **env}
