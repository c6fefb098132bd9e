"""ADK's artifact service on Parley's tables: versions are files of the member, and follow the branch."""

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, Max, Q, QuerySet
from google.adk.artifacts import BaseArtifactService, artifact_util
from google.adk.artifacts.base_artifact_service import ArtifactVersion, ensure_part
from google.adk.errors.input_validation_error import InputValidationError
from google.genai import types

from chat import events
from chat.agent.memory import context, run_files
from chat.agent.memory.file_parts import Reference, reference_of
from chat.agent.memory.run_files import RunFiles, StoredFile
from chat.database import run_db
from chat.files import quota
from chat.files.models import Artifact, File
from chat.models import Conversation
from chat.refusals import Refusal

USER_PREFIX = "user:"  # ADK's: all conversations of a member with an agent share an artifact with this prefix
ARTIFACT_NAME_LENGTH = 512  # characters of Artifact.name
DETAILS_BYTES = 64 * 1024  # of metadata, and of a part without its bytes, as JSON
MESSAGES_MAX = 100_000  # of a branch: more than a conversation has
# Every save of the same name at the same time needs one more try.
TRIES = 100


@dataclass(frozen=True, slots=True)
class ArtifactScope:
    """An agent with a member, and one of their conversations; None for what all of them share."""

    agent: str
    owner_id: int
    conversation_id: uuid.UUID | None

    @property
    def artifacts(self) -> QuerySet[Artifact]:
        """Return the artifacts of the scope that no moderator has hidden."""
        found = Artifact.objects.filter(
            agent=self.agent, owner=self.owner_id, conversation=self.conversation_id
        )
        return found.filter(run__hidden_marks__isnull=True)

    def uri_of(self, artifact: Artifact) -> str:
        session = str(self.conversation_id) if self.conversation_id else None
        return artifact_util.get_artifact_uri(
            self.agent, str(self.owner_id), artifact.name, artifact.version, session
        )


class StoredArtifactService(BaseArtifactService):
    """Keeps each version as a file that counts towards its member's quota.

    In a run, the newest version is that of its branch: of the runs before it, and of its own attempt. Outside
    a run it is that of the conversation's active branch. Artifacts with ``user:`` have no branches.
    """

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
        """Store a new version, and return its number.

        Raises InputValidationError for content that ADK's own services refuse, for a conversation that is not
        the member's with this agent, and for an artifact over FILE_MAX_BYTES or FILES_QUOTA_BYTES.
        """
        scope = artifact_scope(app_name, user_id, session_id, filename)
        if scope is None or not await run_db(_exists, scope):
            raise InputValidationError("There is no such conversation of this user with this agent.")
        part = ensure_part(artifact)
        _check_content(part, app_name, user_id, session_id)
        if len(filename) > ARTIFACT_NAME_LENGTH or events.clean_text(filename) != filename:
            raise InputValidationError(
                f"The name of an artifact has at most {ARTIFACT_NAME_LENGTH} plain characters."
            )
        details, data = _split(part)
        metadata = events.clean_json(custom_metadata or {})
        for each in (details, metadata):
            if len(json.dumps(each)) > DETAILS_BYTES:
                raise InputValidationError(
                    f"An artifact's metadata, or its part without content, exceeds {DETAILS_BYTES} bytes."
                )
        files = _files_for(scope)
        fields = {"part": details, "metadata": metadata, "run_id": files.run_id, "attempt": files.attempt}
        for tried in range(TRIES):
            try:
                version, stored = await self._store(scope, filename, data, files, fields)
            except IntegrityError:  # another save of this name was first
                if tried == TRIES - 1:
                    raise
            else:
                files.saved[filename, version] = stored
                return version
        raise AssertionError("the last try raises")

    async def _store(
        self,
        scope: ArtifactScope,
        name: str,
        data: tuple[bytes, str] | None,
        files: RunFiles,
        fields: dict[str, Any],
    ) -> tuple[int, StoredFile | None]:
        new = Artifact(
            agent=scope.agent,
            owner_id=scope.owner_id,
            conversation_id=scope.conversation_id,
            name=name,
            **fields,
        )
        if data is None:
            await run_db(_add_version, new, None)
            return new.version, None
        content, mime = data
        try:
            await run_db(quota.check_quota, scope.owner_id, len(content))
        except Refusal as refusal:
            raise InputValidationError(
                f"The artifact {name!r} cannot be saved: {refusal.detail}"
            ) from refusal

        def new_version(file: File) -> Callable[[], None]:
            file.conversation_id = scope.conversation_id
            return partial(_add_version, new, file)

        try:
            await run_db(quota.check_quota, scope.owner_id, len(content))  # before the bytes are written
            stored = await files.save(content, name.removeprefix(USER_PREFIX), mime, new_version)
        except Refusal as refusal:
            raise InputValidationError(
                f"The artifact {name!r} cannot be saved: {refusal.detail}"
            ) from refusal
        return new.version, stored

    async def load_artifact(
        self,
        *,
        app_name: str,
        user_id: str,
        filename: str,
        session_id: str | None = None,
        version: int | None = None,
    ) -> types.Part | None:
        """Return the version, or the newest one on the branch; None if there is none or a rewind removed it.

        Follows references within the member's own scope. Raises InputValidationError for other references
        and for long chains of them.
        """
        for depth in range(artifact_util._MAX_ARTIFACT_REFERENCE_DEPTH, -1, -1):
            scope = artifact_scope(app_name, user_id, session_id, filename)
            found = (
                await run_db(_find, scope, filename, version, run_files.current_files.get())
                if scope
                else None
            )
            if found is None or scope is None:
                return None
            part = types.Part.model_validate(found.part)
            if not artifact_util.is_artifact_ref(part):
                if artifact_util._is_rewind_tombstone(part):
                    return None
                return await _whole(part, found, _files_for(scope))
            assert part.file_data and part.file_data.file_uri
            target = artifact_util.resolve_artifact_reference(
                file_uri=part.file_data.file_uri,
                app_name=app_name,
                user_id=user_id,
                session_id=str(scope.conversation_id) if scope.conversation_id else None,
                remaining_depth=depth,
            )
            session_id, filename, version = target.session_id, target.filename, target.version
        raise AssertionError("resolve_artifact_reference raises at depth 0")

    async def list_artifact_keys(
        self, *, app_name: str, user_id: str, session_id: str | None = None
    ) -> list[str]:
        """Return the names of the branch's artifacts and of the member's ``user:`` ones, sorted."""
        return await run_db(_names, app_name, user_id, session_id, run_files.current_files.get())

    async def delete_artifact(
        self, *, app_name: str, user_id: str, filename: str, session_id: str | None = None
    ) -> None:
        """Delete all versions. A reply that shows one keeps its file."""
        if scope := artifact_scope(app_name, user_id, session_id, filename):
            await run_db(_delete, scope, filename)

    async def list_versions(
        self, *, app_name: str, user_id: str, filename: str, session_id: str | None = None
    ) -> list[int]:
        """Return the numbers of the versions on the branch."""
        scope = artifact_scope(app_name, user_id, session_id, filename)
        found = await run_db(_on_branch, scope, filename, run_files.current_files.get()) if scope else []
        return [each.version for each in found]

    async def list_artifact_versions(
        self, *, app_name: str, user_id: str, filename: str, session_id: str | None = None
    ) -> list[ArtifactVersion]:
        scope = artifact_scope(app_name, user_id, session_id, filename)
        if scope is None:
            return []
        return [
            _about(scope, each)
            for each in await run_db(_on_branch, scope, filename, run_files.current_files.get())
        ]

    async def get_artifact_version(
        self,
        *,
        app_name: str,
        user_id: str,
        filename: str,
        session_id: str | None = None,
        version: int | None = None,
    ) -> ArtifactVersion | None:
        scope = artifact_scope(app_name, user_id, session_id, filename)
        if scope is None:
            return None
        found = await run_db(_find, scope, filename, version, run_files.current_files.get())
        return _about(scope, found) if found else None


def artifact_scope(
    app_name: str, user_id: str, session_id: str | None, filename: str
) -> ArtifactScope | None:
    """Return where an artifact with this name is; None if no member or conversation can have these ids."""
    is_shared = filename.startswith(USER_PREFIX)
    if session_id is None and not is_shared:
        raise InputValidationError("Session ID must be provided for session-scoped artifacts.")
    try:
        conversation = None if is_shared or session_id is None else uuid.UUID(session_id)
    except ValueError:
        return None
    if not (user_id.isascii() and user_id.isdigit() and len(user_id) < 19):
        return None
    return ArtifactScope(app_name, int(user_id), conversation)


def _files_for(scope: ArtifactScope) -> RunFiles:
    """Return the files of the current run if it is the member's, else those of no run."""
    files = run_files.current_files.get()
    if files is not None and files.owner_id == scope.owner_id:
        return files
    return RunFiles(scope.owner_id, scope.conversation_id, None)


def _check_content(part: types.Part, app_name: str, user_id: str, session_id: str | None) -> None:
    """Raise InputValidationError for an unsupported kind of content and for a reference out of scope."""
    if part.inline_data is not None or part.text is not None:
        return
    if part.file_data is None:
        raise InputValidationError("Not supported artifact type.")
    if artifact_util.is_artifact_ref(part):
        target = artifact_util.parse_artifact_uri(part.file_data.file_uri or "")
        if target is None:
            raise InputValidationError(f"Invalid artifact reference URI: {part.file_data.file_uri}")
        artifact_util.validate_artifact_reference_scope(
            app_name=app_name, user_id=user_id, session_id=session_id, parsed_uri=target
        )


def _split(part: types.Part) -> tuple[dict[str, Any], tuple[bytes, str] | None]:
    """Return the part without its bytes or text, as JSON, and the bytes with their type.

    None: it has no bytes of its own, or it is ADK's mark of a rewind.
    """
    data: tuple[bytes, str] | None = None
    if part.inline_data is not None and not artifact_util._is_rewind_tombstone(part):
        data = part.inline_data.data or b"", part.inline_data.mime_type or ""
        part = part.model_copy(update={"inline_data": part.inline_data.model_copy(update={"data": b""})})
    elif part.inline_data is None and part.text is not None:
        data = events.clean_text(part.text).encode(), "text/plain"
        part = part.model_copy(update={"text": ""})
    details: dict[str, Any] = part.model_dump(mode="json", by_alias=True, exclude_none=True)
    return events.clean_json(details), data


async def _whole(part: types.Part, artifact: Artifact, files: RunFiles) -> types.Part | None:
    """Return a part with the bytes of the artifact's file; None if the storage has lost them."""
    if artifact.file is None:
        return part
    reference: Reference = reference_of(artifact.file.as_item())
    await files.read([reference])
    data = files.bytes_of(reference)
    if data is None:
        return None
    if part.inline_data is None:
        return part.model_copy(update={"text": data.decode()})
    return part.model_copy(update={"inline_data": part.inline_data.model_copy(update={"data": data})})


def _about(scope: ArtifactScope, artifact: Artifact) -> ArtifactVersion:
    part = types.Part.model_validate(artifact.part)
    mime_type = "text/plain" if part.text is not None else None
    if part.inline_data is not None:
        mime_type = part.inline_data.mime_type
    elif part.file_data is not None and not artifact_util.is_artifact_ref(part):
        mime_type = part.file_data.mime_type
    return ArtifactVersion(
        version=artifact.version,
        canonical_uri=scope.uri_of(artifact),
        custom_metadata=artifact.metadata,
        create_time=artifact.created_at.timestamp(),
        mime_type=mime_type,
    )


# --- rows -----------------------------------------------------------------------------------------


def _exists(scope: ArtifactScope) -> bool:
    """Return whether the member may have an artifact there."""
    if scope.conversation_id is None:
        return True  # the row's foreign key checks the member
    return Conversation.objects.filter(
        pk=scope.conversation_id, owner=scope.owner_id, agent=scope.agent
    ).exists()


@transaction.atomic
def _add_version(new: Artifact, file: File | None) -> None:
    """Insert the next version. Raises IntegrityError if another one was first."""
    # Of hidden and abandoned runs too: their versions keep their numbers.
    same = Artifact.objects.filter(
        agent=new.agent, owner=new.owner_id, conversation=new.conversation_id, name=new.name
    )
    newest = same.aggregate(Max("version"))["version__max"]
    if file is not None:
        # The file itself counts already, and others that are saved at the same time wait for this one.
        quota.lock_member(new.owner_id)
        quota.check_quota(new.owner_id, 0)
    new.version = 0 if newest is None else newest + 1
    new.file = file
    new.save(force_insert=True)


def _on_branch(scope: ArtifactScope, name: str | None, files: RunFiles | None) -> list[Artifact]:
    """Return the versions on the branch, oldest first; of all names without a ``name``."""
    found = scope.artifacts.filter(Q(run=None) | Q(attempt=F("run__attempt")) | Q(conversation=None))
    if name is not None:
        found = found.filter(name=name)
    rows = list(found.select_related("file").order_by("version"))
    if scope.conversation_id is None or not rows:
        return rows
    runs = _branch(scope.conversation_id, files)
    return [each for each in rows if each.run_id is None or each.run_id in runs]


def _branch(conversation_id: uuid.UUID, files: RunFiles | None) -> frozenset[uuid.UUID]:
    """Return the runs on the branch of the current run, itself included, or on the active one."""
    if files is not None and files.run_id and files.conversation_id == conversation_id:
        if files.branch is None:
            before, _hidden = context.runs_before(files.parent_id, MESSAGES_MAX)
            files.branch = frozenset([*before, files.run_id])
        return files.branch
    head = Conversation.objects.values_list("head", flat=True).filter(pk=conversation_id).first()
    return frozenset(context.runs_before(head, MESSAGES_MAX)[0])


def _find(scope: ArtifactScope, name: str, version: int | None, files: RunFiles | None) -> Artifact | None:
    """Return a version of any branch, or the newest one on this branch."""
    if version is None:
        return next(reversed(_on_branch(scope, name, files)), None)
    if version < 0:
        return None
    return scope.artifacts.filter(name=name, version=version).select_related("file").first()


def _names(app_name: str, user_id: str, session_id: str | None, files: RunFiles | None) -> list[str]:
    names: set[str] = set()
    for prefix in ("", USER_PREFIX) if session_id is not None else (USER_PREFIX,):
        if scope := artifact_scope(app_name, user_id, session_id, prefix):
            names |= {each.name for each in _on_branch(scope, None, files)}
    return sorted(names)


@transaction.atomic
def _delete(scope: ArtifactScope, name: str) -> None:
    rows = list(scope.artifacts.filter(name=name).values_list("pk", "file_id", "run__conversation"))
    Artifact.objects.filter(pk__in=[pk for pk, _file, _conversation in rows]).delete()
    for _pk, file, conversation in rows:
        if conversation is None:
            File.objects.filter(pk=file).delete()
        else:  # it goes with the conversation whose reply may show it
            File.objects.filter(pk=file).update(conversation=conversation)
