"""The site owner's services in place of Parley's: services.py, services.yaml and settings, as ADK's CLI.

Sessions are conversations: a session service is never used.
"""

import importlib
import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from google.adk.artifacts import BaseArtifactService
from google.adk.cli import service_registry
from google.adk.memory import BaseMemoryService
from google.adk.utils.yaml_utils import load_yaml_file

from chat.agent.agents.importing import CodeRaised, TookTooLong, import_in_time, is_taken, use_folder
from chat.agent.agents.reasons import load_error

log = logging.getLogger(__name__)

SERVICES_FILE = "services.py"
YAML_FILES = ("services.yaml", "services.yml")
MODULE = "services"


class ServiceError(ImproperlyConfigured):
    """A service of the site's owner cannot be used. The message has no secret of its address."""


@dataclass(frozen=True, slots=True)
class OwnServices:
    """Services that all agents get in place of Parley's; None: Parley's."""

    memory: BaseMemoryService | None = None
    artifacts: BaseArtifactService | None = None


class _Create(Protocol):
    def __call__(self, uri: str, *, agents_dir: str) -> Any: ...


_loaded: OwnServices | None = None
_loading = threading.Lock()


def own_services() -> OwnServices:
    """Return the services that the settings name. The first call in a process runs the owner's code.

    Raises ServiceError if it does not load, or for an address whose scheme no service has.
    """
    global _loaded  # noqa: PLW0603 (the cache of this process)
    with _loading:
        if _loaded is None:
            _loaded = _load()
        return _loaded


def forget_services() -> None:
    """Let the next call of ``own_services`` load them again."""
    global _loaded  # noqa: PLW0603
    with _loading:
        _loaded = None


def _load() -> OwnServices:
    folder = settings.AGENTS_DIR
    files = [name for name in (*YAML_FILES, SERVICES_FILE) if folder and (folder / name).is_file()]
    if not files and not settings.MEMORY_SERVICE_URI and not settings.ARTIFACT_SERVICE_URI:
        return OwnServices()  # most sites: ADK's registry is not imported by their needs
    registry = service_registry.get_service_registry()
    if folder and files:
        sessions = dict(registry._session_factories)
        use_folder(folder)
        for name in files:
            _register(folder, name, registry)
        if ignored := registry._session_factories.items() - sessions.items():
            log.warning(
                "A session service is registered in AGENTS_DIR (%s) and ignored: sessions are conversations",
                ", ".join(sorted(scheme for scheme, _factory in ignored)),
            )
    memory = _service("MEMORY_SERVICE_URI", registry.create_memory_service, BaseMemoryService)
    artifacts = _service("ARTIFACT_SERVICE_URI", registry.create_artifact_service, BaseArtifactService)
    return OwnServices(memory, artifacts)


def _register(folder: Path, name: str, registry: service_registry.ServiceRegistry) -> None:
    """Run one of the owner's files, which registers services. Raises ServiceError."""

    def work() -> None:
        if name == SERVICES_FILE:
            importlib.import_module(MODULE)
        else:
            service_registry._register_services_from_yaml_config(load_yaml_file(folder / name), registry)

    if name == SERVICES_FILE and is_taken(MODULE, folder):
        raise ServiceError(
            f"{folder / name}: Python or a package has a module {MODULE!r}, so it is not imported."
        )
    _call(work, str(folder / name))


def _service(setting: str, create: _Create, kind: type[Any]) -> Any:
    """Return the service of a setting, or None if it is not set. Raises ServiceError."""
    uri = getattr(settings, setting)
    if not uri:
        return None
    scheme = urlsplit(uri).scheme
    found = _call(lambda: create(uri, agents_dir=str(settings.AGENTS_DIR or "")), setting)
    if found is None:
        raise ServiceError(
            f"{setting}: no service is registered for addresses that begin with {scheme or uri!r}."
        )
    if not isinstance(found, kind):
        raise ServiceError(f"{setting}: {type(found).__name__} is no {kind.__name__} of ADK.")
    log.info(
        "%s: all agents use %s. Its branches, quota, hiding and erasure are its own",
        setting,
        type(found).__name__,
    )
    return found


def _call(work: Any, where: str) -> Any:
    """Call the owner's code, as contained as the code of agents. Raises ServiceError."""
    try:
        return import_in_time(work, where)
    except TookTooLong as error:
        raise ServiceError(f"{where}: it did not load within {settings.AGENT_LOAD_SECONDS:g} s.") from error
    except CodeRaised as raised:
        log.warning("%s does not load", where, exc_info=raised.error)
        raise ServiceError(f"{where}: {load_error(raised.error).reason}") from raised.error
