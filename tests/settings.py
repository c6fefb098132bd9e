"""The settings of Parley as the tests run it: a data folder of its own, short clocks, a fake key."""

import os
import tempfile

os.environ.setdefault("DATA_DIR", tempfile.mkdtemp(prefix="parley-test-"))
os.environ.setdefault("GOOGLE_API_KEY", "not-a-key")
os.environ.setdefault("CHAT_MODEL", "gemini-2.5-flash")
os.environ.setdefault("HEARTBEAT_SECONDS", "0.3")
os.environ.setdefault("DEAD_AFTER_SECONDS", "2")
os.environ.setdefault("QUEUED_MAX_SECONDS", "0.5")
os.environ.setdefault("LOG_LEVEL", "WARNING")

from config.settings import *  # noqa: E402, F403

# Argon2 is slow by design; no test is about it.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
