"""The ``.env`` files of agents, and which of their variables the process's environment receives."""

import os
from collections.abc import Mapping
from pathlib import Path

from django.conf import settings
from dotenv import dotenv_values

# Prefixes of variables that change libraries, Python or the network: only the site's owner sets these.
RESERVED = (
    "ADK_", "CURL_", "DJANGO_", "DYLD_", "GEMINI_", "GOOGLE_", "LD_", "OTEL_", "PG", "PYTHON", "REQUESTS_",
    "SSL_",
)  # fmt: skip


def read_env_file(path: Path) -> dict[str, str]:
    """Return the variables in ``path``, none if it does not exist.

    Raises OSError or UnicodeDecodeError for a file that cannot be read.
    """
    if not path.exists():
        return {}
    found = dotenv_values(path, interpolate=False, encoding="utf-8")
    return {name: value for name, value in found.items() if value is not None}


def add_to_environment(variables: Mapping[str, str]) -> list[str]:
    """Set those ``variables`` that are not set yet, not Parley's own and not RESERVED.

    Returns the names of the others.
    """
    left_out = []
    for name, value in variables.items():
        upper = name.upper()
        is_reserved = (
            upper in settings.OWN_VARIABLES or upper.startswith(RESERVED) or upper.endswith("_PROXY")
        )
        if name in os.environ or is_reserved:
            left_out.append(name)
        else:
            os.environ[name] = value
    return left_out
