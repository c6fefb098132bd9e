"""The ``.env`` files of agents, and the environment that their code sees while it is loaded."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from dotenv import dotenv_values

from chat.agent.agents.gemini import ACCOUNT_VARIABLES

# Prefixes of variables that change libraries, Python or the network: only the site's owner sets these.
RESERVED = (
    "ADK_", "CURL_", "DJANGO_", "DYLD_", "GEMINI_", "GOOGLE_", "LD_", "OTEL_", "PG", "PYTHON", "REQUESTS_",
    "SSL_",
)  # fmt: skip
# ADK's loader would load the file itself, with the reserved variables.
WHILE_LOADING = {"ADK_DISABLE_LOAD_DOTENV": "1"}

_added: set[str] = set()  # names of variables that this process has from the files


def read_env_file(agent: Path) -> dict[str, str]:
    """Return the variables of the nearest ``.env``: in the agent's folder, or in one above it.

    ``${NAME}`` in it is expanded. Raises OSError or ValueError for a file that cannot be read.
    """
    for folder in (agent, *agent.parents):
        if (folder / ".env").is_file():
            found = dotenv_values(folder / ".env", encoding="utf-8")
            variables = {name: value for name, value in found.items() if value is not None}
            if any("\0" in value for value in variables.values()):
                raise ValueError("No variable can hold a NUL character.")
            return variables
    return {}


@contextmanager
def agent_environment(variables: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Set an agent's ``variables`` inside the block, which loads the agent.

    Yields the ones for its models: those that are set, and its Google account.

    Variables that the site's owner has set win. Parley's own and RESERVED ones are left out, except for those
    of a Google account. After the block, a variable has its previous value. One that had none keeps the new
    value, unless it is reserved. What the agent's own code sets stays.
    """
    own = {name: value for name, value in variables.items() if _may_set(name)}
    account = {
        name: value
        for name, value in variables.items()
        if name in ACCOUNT_VARIABLES and name not in os.environ
    }
    seen = {**own, **account, **WHILE_LOADING}
    before = {name: os.environ.get(name) for name in seen}
    os.environ.update(seen)
    try:
        yield {
            name: value
            for name, value in variables.items()
            if name in ACCOUNT_VARIABLES or os.environ.get(name) == value
        }
    finally:
        for name, value in before.items():
            if os.environ.get(name) != seen[name]:
                continue
            if value is not None:
                os.environ[name] = value
            elif name in own:
                _added.add(name)
            else:
                del os.environ[name]


def differing_names(variables: Mapping[str, str]) -> set[str]:
    """Return the names of the ``variables`` that have another value in the environment, or none."""
    return {name for name, value in variables.items() if os.environ.get(name) != value}


def _may_set(name: str) -> bool:
    upper = name.upper()
    if upper in settings.OWN_VARIABLES or upper.startswith(RESERVED) or upper.endswith("_PROXY"):
        return False
    return name in _added or name not in os.environ
