"""Settings of Parley for the tests: a temporary data folder, short timeouts, a fake key.

Each test process of ``pytest -n`` has its own folder and Redis prefix and, from pytest-django, its own
database.
"""

import os
from pathlib import Path
from typing import Any

from tests.support.shared import CERTIFICATE, TESTS_DIR

os.environ.setdefault("DATA_DIR", str(TESTS_DIR))
os.environ["SSL_CERT_FILE"] = str(CERTIFICATE)
if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    os.environ["DATA_DIR"] = str(Path(os.environ["DATA_DIR"]) / worker)
    os.environ["REDIS_PREFIX"] = f"{os.environ.get('REDIS_PREFIX', 'parley-test')}-{worker}"

os.environ["ENV_FILE"] = os.devnull  # ignore a developer's .env
os.environ.setdefault("GOOGLE_API_KEY", "not-a-key")
os.environ.setdefault("CHAT_MODEL", "gemini-2.5-flash")
os.environ.setdefault("HEARTBEAT_SECONDS", "0.3")
os.environ.setdefault("DEAD_AFTER_SECONDS", "2")
os.environ.setdefault("QUEUED_MAX_SECONDS", "0.5")
os.environ.setdefault("TITLES", "first-words")  # most tests count the model's calls
os.environ.setdefault("LOG_LEVEL", "WARNING")

from config.settings import *  # noqa: F403
from config.settings import DATABASES, ON_SQLITE, STATIC_ROOT, STORAGES

STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # left empty: the finders serve the files

# Tests need no durable writes. The servers that tests kill run with Parley's own settings.
if ON_SQLITE:
    options: Any = DATABASES["default"]["OPTIONS"]
    options["init_command"] += "PRAGMA synchronous=OFF;"

# Argon2 is slow by design, and no test depends on it.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES = {
    **STORAGES,
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
