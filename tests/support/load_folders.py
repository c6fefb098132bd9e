"""Load folders of agents with ADK's loader or with Parley's, each one in a process of its own.

``python -P load_folders.py adk|parley``, with the folders as JSON on stdin. Prints one object for each:
the agents by name, with class, name and description of the root, and null for a broken one.
"""

import asyncio
import importlib
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

Loaded = dict[str, list[str] | None]


def describe(root: Any) -> list[str]:
    return [type(root).__name__, root.name, root.description]


async def with_adk(folder: Path) -> Loaded:
    """Load in a running event loop, as ``adk web`` does. It loads modules too, and lists only folders."""
    from google.adk.apps import App
    from google.adk.cli.utils.agent_loader import AgentLoader

    loader, loaded = AgentLoader(str(folder)), Loaded()
    for name in [*loader.list_agents(), *modules_in(folder)]:
        try:
            found: Any = loader.load_agent(name)
            loaded[name] = describe(found.root_agent if isinstance(found, App) else found)
        except BaseException:  # noqa: BLE001 (an agent may call sys.exit)
            loaded[name] = None
    return loaded


def modules_in(folder: Path) -> list[str]:
    return [path.stem for path in folder.glob("*.py") if not path.name.startswith("_")]


async def with_parley(folder: Path) -> Loaded:
    from django.conf import settings

    from chat.agent.agents import catalog

    settings.AGENTS_DIR = folder
    agents = (await asyncio.to_thread(catalog.all_agents))[1:]
    return {
        each.name: describe(catalog.runner_of(each.name).agent) if each.available else None for each in agents
    }


def in_a_fork(load: Callable[[Path], Any], folder: Path) -> Loaded:
    with tempfile.TemporaryFile("w+") as file:
        child = os.fork()
        if not child:
            os.dup2(2, 1)  # what agents print
            json.dump(asyncio.run(load(folder)), file)
            file.flush()
            os._exit(0)
        os.waitpid(child, 0)
        file.seek(0)
        return json.load(file)  # type: ignore[no-any-return]


def import_all() -> None:
    """Import what agents need, once: the forks inherit it."""
    for module in ("google.adk.cli.utils.agent_loader", "google.adk.workflow", "google.genai", "httpx"):
        importlib.import_module(module)
    agents, models = (
        importlib.import_module("google.adk.agents"),
        importlib.import_module("google.adk.models"),
    )
    for kind in ("BaseAgent", "LoopAgent", "ParallelAgent", "SequentialAgent"):
        getattr(agents, kind)
    agents.Agent(name="first", model=models.Gemini(model="gemini-x"))


if __name__ == "__main__":
    import_all()
    chosen: Callable[[Path], Any] = with_adk
    if sys.argv[1] == "parley":
        import django

        django.setup()
        importlib.import_module("chat.agent.agents.catalog")
        chosen = with_parley
    print(json.dumps([in_a_fork(chosen, Path(folder)) for folder in json.load(sys.stdin)]))  # noqa: T201
