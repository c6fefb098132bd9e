"""ADK's artifacts in the memory of this process, limited in size: a placeholder until files are stored."""

import json
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from google.adk.artifacts import BaseArtifactService, artifact_util
from google.adk.artifacts.base_artifact_service import ArtifactVersion, ensure_part
from google.adk.errors.input_validation_error import InputValidationError
from google.genai import types

# Per process: forty photographs of 1.5 MB. A server with 512 MiB keeps enough memory for replies.
MAX_BYTES = 64 * 1024 * 1024
# Added to the size of each version for its objects and keys, so that empty artifacts are limited too.
OVERHEAD_BYTES = 2048
USER_PREFIX = "user:"  # ADK's: all conversations of a member with an agent share an artifact with this prefix

FileScope = tuple[str, str, str | None]  # agent, member, and conversation, which is None for ``user:``
StoredFile = tuple[FileScope, str]


@dataclass(frozen=True, slots=True)
class _Stored:
    part: types.Part
    about: ArtifactVersion
    size: int


class TemporaryArtifactService(BaseArtifactService):
    """Keeps at most ``max_bytes`` of artifacts until the process ends, and drops the oldest versions first.

    After the last version of a file is dropped, its numbers start at 0 again. Every key includes agent and
    member: no file name reaches another member's artifacts. Thread-safe, because ADK runs tools in threads.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._size = 0
        self._stored: OrderedDict[tuple[StoredFile, int], _Stored] = OrderedDict()  # oldest first
        self._versions: dict[FileScope, dict[str, list[int]]] = {}
        self._lock = threading.Lock()  # held for microseconds: copy and measure outside it

    async def save_artifact(
        self,
        *,
        app_name: str,
        user_id: str,
        filename: str,
        artifact: types.Part | dict[str, Any],
        session_id: str | None = None,
        custom_metadata: dict[str, Any] | None = None,
    ) -> int:
        """Keep a new version and return its number.

        Raises InputValidationError for content that ADK's own services refuse, and for an artifact that is
        larger than ``max_bytes``.
        """
        file = _file(app_name, user_id, session_id, filename)
        part = ensure_part(artifact).model_copy(deep=True)
        mime_type = _mime_type(part, app_name, user_id, session_id)
        metadata = json.dumps(custom_metadata or {}, default=repr)
        size = _size(part) + len(filename.encode("utf-8", "replace")) + len(metadata) + OVERHEAD_BYTES
        if size > self._max_bytes:
            raise InputValidationError(
                f"The artifact {filename!r} has {size} bytes; at most {self._max_bytes} are kept."
            )
        with self._lock:
            versions = self._versions.setdefault(file[0], {}).setdefault(filename, [])
            version = versions[-1] + 1 if versions else 0
            about = ArtifactVersion(
                version=version,
                canonical_uri=_uri(file, version),
                custom_metadata=json.loads(metadata),
                mime_type=mime_type,
            )
            versions.append(version)
            self._stored[file, version] = _Stored(part, about, size)
            self._size += size
            while self._size > self._max_bytes:
                self._drop(*next(iter(self._stored)))
        return version

    async def load_artifact(
        self,
        *,
        app_name: str,
        user_id: str,
        filename: str,
        session_id: str | None = None,
        version: int | None = None,
    ) -> types.Part | None:
        """Return a copy, or None if there is none or a rewind removed it.

        Follows references within the member's own scope. Raises InputValidationError for other references
        and for long chains of them.
        """
        file = _file(app_name, user_id, session_id, filename)
        for depth in range(artifact_util._MAX_ARTIFACT_REFERENCE_DEPTH, -1, -1):
            stored = self._find(file, version)
            if stored is None:
                return None
            part = stored.part
            if not artifact_util.is_artifact_ref(part):
                gone = part == types.Part() or artifact_util._is_rewind_tombstone(part)
                return None if gone else part.model_copy(deep=True)
            assert part.file_data and part.file_data.file_uri
            target = artifact_util.resolve_artifact_reference(
                file_uri=part.file_data.file_uri,
                app_name=app_name,
                user_id=user_id,
                session_id=file[0][2],
                remaining_depth=depth,
            )
            file = _file(target.app_name, target.user_id, target.session_id, target.filename)
            version = target.version
        raise AssertionError("resolve_artifact_reference raises at depth 0")

    async def list_artifact_keys(
        self, *, app_name: str, user_id: str, session_id: str | None = None
    ) -> list[str]:
        """Return the names of the conversation's artifacts and of the member's ``user:`` ones, sorted."""
        scopes = {(app_name, user_id, session_id), (app_name, user_id, None)}
        with self._lock:
            return sorted(name for scope in scopes for name in self._versions.get(scope, {}))

    async def delete_artifact(
        self, *, app_name: str, user_id: str, filename: str, session_id: str | None = None
    ) -> None:
        file = _file(app_name, user_id, session_id, filename)
        with self._lock:
            for version in self._versions_of(file):
                self._drop(file, version)

    async def list_versions(
        self, *, app_name: str, user_id: str, filename: str, session_id: str | None = None
    ) -> list[int]:
        with self._lock:
            return self._versions_of(_file(app_name, user_id, session_id, filename))

    async def list_artifact_versions(
        self, *, app_name: str, user_id: str, filename: str, session_id: str | None = None
    ) -> list[ArtifactVersion]:
        file = _file(app_name, user_id, session_id, filename)
        with self._lock:
            found = [self._stored[file, version].about for version in self._versions_of(file)]
        return [about.model_copy(deep=True) for about in found]

    async def get_artifact_version(
        self,
        *,
        app_name: str,
        user_id: str,
        filename: str,
        session_id: str | None = None,
        version: int | None = None,
    ) -> ArtifactVersion | None:
        stored = self._find(_file(app_name, user_id, session_id, filename), version)
        return stored.about.model_copy(deep=True) if stored else None

    def _find(self, file: StoredFile, version: int | None) -> _Stored | None:
        with self._lock:
            versions = self._versions_of(file)
            newest = versions[-1] if versions else -1
            return self._stored.get((file, newest if version is None else version))

    def _versions_of(self, file: StoredFile) -> list[int]:
        """Return the version numbers in a new list, oldest first. Call it with the lock held."""
        scope, name = file
        return list(self._versions.get(scope, {}).get(name, ()))

    def _drop(self, file: StoredFile, version: int) -> None:
        """Drop one version. Call it with the lock held."""
        self._size -= self._stored.pop((file, version)).size
        scope, name = file
        files = self._versions[scope]
        files[name].remove(version)
        if not files[name]:
            del files[name]
        if not files:
            del self._versions[scope]


def _file(app_name: str, user_id: str, session_id: str | None, filename: str) -> StoredFile:
    if filename.startswith(USER_PREFIX):
        return (app_name, user_id, None), filename
    if session_id is None:
        raise InputValidationError("Session ID must be provided for session-scoped artifacts.")
    return (app_name, user_id, session_id), filename


def _uri(file: StoredFile, version: int) -> str:
    (app_name, user_id, session_id), name = file
    session = "" if session_id is None else f"/sessions/{session_id}"
    return f"memory://apps/{app_name}/users/{user_id}{session}/artifacts/{name}/versions/{version}"


def _mime_type(part: types.Part, app_name: str, user_id: str, session_id: str | None) -> str | None:
    """Return the content's type, or None for a reference, which has its target's type.

    Raises InputValidationError for an unsupported kind of content and for a reference out of scope.
    """
    if part.inline_data is not None:
        return part.inline_data.mime_type
    if part.text is not None:
        return "text/plain"
    if part.file_data is None:
        raise InputValidationError("Not supported artifact type.")
    if not artifact_util.is_artifact_ref(part):
        return part.file_data.mime_type
    target = artifact_util.parse_artifact_uri(part.file_data.file_uri or "")
    if target is None:
        raise InputValidationError(f"Invalid artifact reference URI: {part.file_data.file_uri}")
    artifact_util.validate_artifact_reference_scope(
        app_name=app_name, user_id=user_id, session_id=session_id, parsed_uri=target
    )
    return None


def _size(part: types.Part) -> int:
    """Return the size of the content and of the part's other fields, in bytes."""
    content = len(part.inline_data.data or b"") if part.inline_data else 0
    text = (part.text or "").encode("utf-8", "replace")
    other_fields = part.model_copy(update={"inline_data": None, "text": None})
    return content + len(text) + len(other_fields.model_dump_json(exclude_none=True))
