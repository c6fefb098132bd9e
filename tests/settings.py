"""The settings of Parley as the tests run it: a data folder of its own, short clocks, a fake key.

Each of several test processes (pytest -n) has its own folder, Redis prefix and, by pytest-django,
its own database.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import certifi

if "DATA_DIR" not in os.environ:
    os.environ["DATA_DIR"] = tempfile.mkdtemp(prefix="parley-test-")
    atexit.register(shutil.rmtree, os.environ["DATA_DIR"], ignore_errors=True)
# What test processes make once and share: see tests/live.py.
os.environ.setdefault("TESTS_DIR", os.environ["DATA_DIR"])
# Tests talk to nobody through TLS; reading certifi's 140 certificates takes 40 ms for each client.
os.environ["SSL_CERT_FILE"] = str(Path(os.environ["TESTS_DIR"]) / "certificate.pem")
if not Path(os.environ["SSL_CERT_FILE"]).exists():
    first = Path(certifi.where()).read_text().split("\n\n# Issuer")[0]
    Path(os.environ["SSL_CERT_FILE"]).write_text(first)
if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    os.environ["DATA_DIR"] = str(Path(os.environ["DATA_DIR"]) / worker)
    os.environ["REDIS_PREFIX"] = f"{os.environ.get('REDIS_PREFIX', 'parley-test')}-{worker}"

os.environ["ENV_FILE"] = os.devnull  # a developer's .env is not the tests'
os.environ.setdefault("GOOGLE_API_KEY", "not-a-key")
os.environ.setdefault("CHAT_MODEL", "gemini-2.5-flash")
os.environ.setdefault("HEARTBEAT_SECONDS", "0.3")
os.environ.setdefault("DEAD_AFTER_SECONDS", "2")
os.environ.setdefault("QUEUED_MAX_SECONDS", "0.5")
os.environ.setdefault("LOG_LEVEL", "WARNING")

from config.settings import *  # noqa: F403
from config.settings import DATABASES, ON_SQLITE, STATIC_ROOT

STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # nothing is collected: the finders find the files

# What these tests store need not outlive the machine; servers that are killed have Parley's own settings.
if ON_SQLITE:
    options: Any = DATABASES["default"]["OPTIONS"]
    options["init_command"] += "PRAGMA synchronous=OFF;"

# Argon2 is slow by design; no test is about it.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
