"""Services of the site's owner: services.py, services.yaml and the settings that name them, as ADK's CLI."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks
from google.adk.cli import service_registry

from chat.agent.agents import catalog
from chat.agent.agents.services import ServiceError, own_services
from tests.support.client import Client
from tests.support.gemini import Call, Gemini, Text
from tests.support.live import LiveServer
from tests.support.talk import Talk

Write = Callable[[dict[str, str]], Path]

# A memory service and an artifact service that say what they were given.
SHELVES = """
from google.adk.artifacts import InMemoryArtifactService
from google.adk.memory import InMemoryMemoryService
from google.adk.memory.base_memory_service import SearchMemoryResponse
from google.adk.memory.memory_entry import MemoryEntry
from google.genai import types

class ShelfMemory(InMemoryMemoryService):
    def __init__(self, uri, agents_dir):
        super().__init__()
        self.uri = uri

    async def search_memory(self, *, app_name, user_id, query):
        content = types.Content(role="user", parts=[types.Part(text=f"{self.uri} {app_name} {query}")])
        return SearchMemoryResponse(memories=[MemoryEntry(content=content)])

class ShelfArtifacts(InMemoryArtifactService):
    def __init__(self, uri, agents_dir):
        super().__init__()

class ShelfSessions:
    def __init__(self, uri, agents_dir):
        raise AssertionError("no session service is made")
"""
YAML = """
services:
  - scheme: shelf
    type: memory
    class: shelves.ShelfMemory
  - scheme: shelf
    type: artifact
    class: shelves.ShelfArtifacts
  - scheme: shelf
    type: session
    class: shelves.ShelfSessions
"""
SERVICES = """
from google.adk.cli.service_registry import get_service_registry
from shelves import ShelfMemory

get_service_registry().register_memory_service("rack", lambda uri, **kwargs: ShelfMemory(uri, **kwargs))
"""
READER = """
from google.adk.agents import Agent
from google.adk.tools import load_memory

root_agent = Agent(name="reader", model="gemini-2.5-flash", tools=[load_memory])
"""


@pytest.fixture(autouse=True)
def fresh_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test a registry with ADK's own services only."""
    monkeypatch.setattr(service_registry, "_service_registry_instance", None)


def errors() -> list[str]:
    return [each.msg for each in run_checks() if each.id == "chat.E003"]


async def test_agents_get_the_memory_service_of_services_py(
    write_agents: Any, as_alice: Client, gemini: Gemini, settings: Any
) -> None:
    settings.MEMORY_SERVICE_URI = "rack://one"
    await write_agents({"reader/agent.py": READER, "shelves.py": SHELVES, "services.py": SERVICES})
    gemini.on("Go", [Call("load_memory", {"query": "tea"})], [Text("Done.")])
    said = await Talk(as_alice).ask("Go", agent="reader")
    [event] = said.named("tool.returned")
    [found] = event.json()["result"]["result"]["memories"]
    assert found["content"]["parts"] == [{"text": "rack://one reader tea"}]
    assert [each.name for each in catalog.folder_agents()] == ["reader", "shelves"]  # services.py is none


def test_services_yaml_registers_services_for_the_built_in_agent_too(
    agent_files: Write, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    settings.MEMORY_SERVICE_URI = settings.ARTIFACT_SERVICE_URI = "shelf://one?password=zanzibar"
    agent_files({"shelves.py": SHELVES, "services.yaml": YAML})
    runner = catalog.runner_of(settings.AGENT_NAME)
    assert type(runner.memory_service).__name__ == "ShelfMemory"
    assert type(runner.artifact_service).__name__ == "ShelfArtifacts"
    assert runner.session_service is catalog.session_service
    catalog.folder_agents()
    lines = [each.getMessage() for each in caplog.records if each.name == "chat.agent.agents.services"]
    rules = "Its branches, quota, hiding and erasure are its own"
    assert lines == [
        "A session service is registered in AGENTS_DIR (shelf) and ignored: sessions are conversations",
        f"MEMORY_SERVICE_URI: all agents use ShelfMemory. {rules}",
        f"ARTIFACT_SERVICE_URI: all agents use ShelfArtifacts. {rules}",
    ]
    assert "zanzibar" not in caplog.text


def test_services_of_adk_need_no_folder(settings: Any) -> None:
    settings.MEMORY_SERVICE_URI = "memory://"
    assert type(own_services().memory).__name__ == "InMemoryMemoryService"
    assert own_services().artifacts is None


def test_without_the_settings_agents_keep_parleys_services(agent_files: Write, settings: Any) -> None:
    agent_files({"shelves.py": SHELVES, "services.yaml": YAML})
    runner = catalog.runner_of(settings.AGENT_NAME)
    assert runner.memory_service is catalog.memory_service
    assert runner.artifact_service is catalog.artifact_service
    assert errors() == []


@pytest.mark.parametrize(
    ("files", "uri", "sentence"),
    [
        ({}, "unknown://x?key=zanzibar", "no service is registered for addresses that begin with 'unknown'"),
        ({}, "zanzibar", "no service is registered for addresses that begin with 'zanzibar'"),
        ({"services.py": "def"}, "", "services.py: There is a syntax error in its code."),
        ({"services.py": "raise RuntimeError('zanzibar')"}, "", "its code does not load (RuntimeError)."),
        ({"services.py": "import sys; sys.exit()"}, "", "Its code ends the process instead of loading."),
        ({"services.py": "import zanzibar_module"}, "", "It needs the module zanzibar_module"),
        (
            {"services.yaml": "services: [{scheme: x, type: memory, class: shelves.Gone}]"},
            "",
            "services.yaml: ",
        ),
        ({"services.yaml": "services: ["}, "", "services.yaml: "),
        (
            {"services.py": SERVICES.replace("ShelfMemory(uri, **kwargs)", "object()")},
            "rack://x",
            "object is no BaseMemoryService",
        ),
        (
            {"services.py": SERVICES.replace("ShelfMemory(uri, **kwargs)", "1 / 0")},
            "rack://x",
            "MEMORY_SERVICE_URI: Its code does not load (ZeroDivisionError).",
        ),
    ],
)
def test_what_cannot_be_used_is_an_error_of_the_check_and_the_start(
    agent_files: Write, settings: Any, files: dict[str, str], uri: str, sentence: str
) -> None:
    agent_files({"shelves.py": SHELVES, **files})
    settings.MEMORY_SERVICE_URI = uri
    [error] = errors()
    assert sentence.lower() in error.lower()
    assert "key=" not in error
    with pytest.raises(ServiceError):
        catalog.runner_of(settings.AGENT_NAME)


def test_code_that_does_not_end_is_given_up(agent_files: Write, settings: Any) -> None:
    settings.AGENT_LOAD_SECONDS = 0.3
    agent_files({"services.py": "import threading; threading.Event().wait(3)"})
    [error] = errors()
    assert error.endswith("services.py: it did not load within 0.3 s.")


def test_services_py_replaces_no_module_of_parley_or_a_package(agent_files: Write, settings: Any) -> None:
    agent_files(
        {"json.py": "raise RuntimeError", "chat.py": "raise RuntimeError", "services.py": "import json"}
    )
    assert errors() == []


@pytest.mark.parametrize("command", ["check", "serve"])
def test_the_server_does_not_start_with_a_broken_one(
    agent_files: Write, tmp_path: Path, command: str
) -> None:
    folder = agent_files({"services.py": "def"})
    ended = LiveServer(tmp_path / "data", AGENTS_DIR=str(folder)).prepare().manage(command)
    assert ended.returncode == 1
    assert "services.py: There is a syntax error in its code." in ended.stderr
