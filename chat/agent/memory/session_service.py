"""ADK's session service on Parley's tables: a session is a conversation, and a user is a User.

Only a run can append events, through its own ``record``; outside a run an append raises.
"""

import asyncio
import copy
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django.contrib.auth import get_user_model
from django.db import IntegrityError, transaction
from django.utils import timezone
from google.adk.errors._stale_session_error import StaleSessionError
from google.adk.errors.already_exists_error import AlreadyExistsError
from google.adk.errors.session_not_found_error import SessionNotFoundError
from google.adk.events import Event
from google.adk.sessions import BaseSessionService, Session, State
from google.adk.sessions.base_session_service import GetSessionConfig, ListSessionsResponse

from chat import changes
from chat.agent.memory import context, model_calls, payload, run_files
from chat.agent.memory.file_parts import has_bytes
from chat.agent.memory.run_files import RunFiles
from chat.agent.memory.session_data import SessionData, split_by_scope
from chat.database import run_db
from chat.models import AppState, Conversation, UserState, new_id

MAX_LISTED = 1000

# of the current run, for what ADK calls without naming the session
attached_session: ContextVar[SessionData | None] = ContextVar("attached_session", default=None)


class ConversationSessionService(BaseSessionService):
    """Reads and writes the attached sessions of current runs; reads other conversations."""

    def __init__(self) -> None:
        self._attached: dict[str, SessionData] = {}  # by conversation: a conversation has one active run

    @contextmanager
    def attached(self, data: SessionData) -> Iterator[None]:
        """Serve ``data`` as the session of its conversation within the block."""
        self._attached[data.conversation_id] = data
        attached_session.set(data)
        try:
            yield
        finally:
            attached_session.set(None)
            if self._attached.get(data.conversation_id) is data:
                del self._attached[data.conversation_id]

    async def create_session(
        self,
        *,
        app_name: str,
        user_id: str,
        state: dict[str, Any] | None = None,
        session_id: str | None = None,
    ) -> Session:
        """Create a conversation and return it.

        Raises AlreadyExistsError, and ValueError for an id that is not a UUID, an unknown user, or state of
        the session's own scope: a conversation starts without it.
        """
        return await run_db(_create, app_name, user_id, state or {}, session_id)

    async def get_session(
        self,
        *,
        app_name: str,
        user_id: str,
        session_id: str,
        config: GetSessionConfig | None = None,
    ) -> Session | None:
        data = self._attached.get(session_id.strip())
        if data is not None:
            if (data.agent, data.user_id) != (app_name, user_id):
                return None
            return await _with_state(_session(data, config), run_files.current_files.get())
        with_events = config is None or config.num_recent_events != 0
        found = await run_db(_read, app_name, user_id, session_id.strip(), with_events)
        if found is None:
            return None
        return await _with_state(_session(found, config), None)

    async def list_sessions(self, *, app_name: str, user_id: str | None = None) -> ListSessionsResponse:
        """Return the MAX_LISTED newest conversations without events, the last updated one last."""
        found = await run_db(_list, app_name, user_id)
        return ListSessionsResponse(
            sessions=[_session(data, GetSessionConfig(num_recent_events=0)) for data in found]
        )

    async def delete_session(self, *, app_name: str, user_id: str, session_id: str) -> None:
        await run_db(_delete, app_name, user_id, session_id.strip())

    async def get_user_state(self, *, app_name: str, user_id: str) -> dict[str, Any]:
        return await run_db(lambda: context.user_state(user_id, app_name) if _user_exists(user_id) else {})

    async def append_event(self, session: Session, event: Event) -> Event:
        """Store ``event`` and return after the commit. A partial event is returned as it is.

        Raises StaleSessionError if ``session`` was loaded before another append, and SessionNotFoundError
        outside a run.
        """
        if event.partial:
            return event
        data = self._attached.get(session.id)
        if data is None or (data.agent, data.user_id) != (session.app_name, session.user_id):
            raise SessionNotFoundError(f"No run is writing to session {session.id}.")
        async with data.appending:  # in a live connection, two of ADK's tasks share one session object
            if session._storage_update_marker != data.marker:
                raise StaleSessionError("The session was changed since it was loaded.")
            calls = model_calls.current.get()
            if calls and event.actions and event.actions.compaction:
                calls.add_summary(event)
            changed, stored_event = event.actions.state_delta if event.actions else None, event
            if (files := run_files.current_files.get()) and (has_bytes(event.content) or has_bytes(changed)):
                stored_event = await files.without_bytes(event)
                changed = await files.state_without_bytes(changed or {})
            delta = split_by_scope(changed)
            stored = payload.encode_event(stored_event, delta)
            try:
                await data.record(stored, can_wait=_is_question(event))
            except asyncio.CancelledError:
                # The journal has it, and stores it although this call was cancelled.
                data.add_stored_event(stored, delta)
                raise
            data.add_stored_event(stored, delta)
            data.updated_at = event.timestamp
            self._apply_temp_state(session, event)
            event = self._trim_temp_delta_state(event)
            session._storage_update_marker = data.marker
            session.last_update_time = event.timestamp
            return self._commit_event_to_session(session, event)


def _is_question(event: Event) -> bool:
    """Return whether nothing can act on the event, nor show it, before the next one is stored."""
    parts = event.content.parts if event.content else None
    is_said = bool(parts) and all(part.text or part.inline_data for part in parts or ())
    return event.author == "user" and is_said


def _session(data: SessionData, config: GetSessionConfig | None) -> Session:
    state = {
        **data.state,
        **{State.APP_PREFIX + key: value for key, value in data.app_state.items()},
        **{State.USER_PREFIX + key: value for key, value in data.user_state.items()},
    }
    session = Session(
        id=data.conversation_id,
        app_name=data.agent,
        user_id=data.user_id,
        state=copy.deepcopy(state),
        events=_events(data, config or GetSessionConfig()),
        last_update_time=data.updated_at,
    )
    session._storage_update_marker = data.marker
    return session


async def _with_state(session: Session, files: RunFiles | None) -> Session:
    """Return the session with the bytes in its state, as ADK's own database service gives them."""
    files = files or RunFiles(int(session.user_id), None, None)
    session.state = await files.filled_state(session.state)
    return session


def _events(data: SessionData, config: GetSessionConfig) -> list[Event]:
    """Return the events that ``config`` asks for, decoded."""
    recent, since = config.num_recent_events, config.after_timestamp
    if recent == 0:
        return []
    stored = data.past + data.own_payloads
    if since is None:  # then decode only the events that are returned: 27 µs each
        return [Event.model_validate_json(each) for each in stored[-(recent or 0) :]]
    found = [event for each in stored if (event := Event.model_validate_json(each)).timestamp >= since]
    return found[-(recent or 0) :]


# --- outside a run ------------------------------------------------------------------------------


def _create(app_name: str, user_id: str, state: dict[str, Any], session_id: str | None) -> Session:
    given_id = (session_id or "").strip()
    try:
        conversation_id = uuid.UUID(given_id) if given_id else new_id()
    except ValueError as error:
        raise ValueError("A session's id is a conversation's: a UUID.") from error
    if not _user_exists(user_id):
        raise ValueError("A session's user is a User.")
    delta = split_by_scope(state)
    if delta["session"]:
        raise ValueError("A conversation begins without state of its own.")
    with transaction.atomic():
        conversation = _insert(conversation_id, user_id, app_name)
        for key, value in sorted(delta["user"].items()):
            _set(UserState, {"user_id": int(user_id), "agent": app_name, "key": key}, value)
        for key, value in sorted(delta["app"].items()):
            _set(AppState, {"agent": app_name, "key": key}, value)
        return _session(_load(conversation), None)


def _insert(conversation_id: uuid.UUID, user_id: str, app_name: str) -> Conversation:
    now = timezone.now()
    try:
        with transaction.atomic():
            return Conversation.objects.create(
                id=conversation_id,
                owner_id=int(user_id),
                agent=app_name,
                created_at=now,
                updated_at=now,
                last_change=changes.announce(int(user_id)),
            )
    except IntegrityError as error:
        raise AlreadyExistsError(f"Session {conversation_id} already exists.") from error


def _set(model: Any, key: dict[str, Any], value: Any) -> None:
    model.objects.update_or_create(**key, defaults={"value": json.dumps(value)})


def _user_exists(user_id: str) -> bool:
    return _is_number(user_id) and get_user_model().objects.filter(pk=user_id).exists()


def _is_number(user_id: str) -> bool:
    return user_id.isascii() and user_id.isdigit() and len(user_id) < 19


def _find(app_name: str, user_id: str, session_id: str) -> Conversation | None:
    try:
        conversation_id = uuid.UUID(session_id)
    except ValueError:
        return None
    if not _is_number(user_id):
        return None
    return Conversation.objects.filter(
        pk=conversation_id, owner_id=int(user_id), agent=app_name, deleted_at=None
    ).first()


def _read(app_name: str, user_id: str, session_id: str, with_events: bool) -> SessionData | None:
    conversation = _find(app_name, user_id, session_id)
    return _load(conversation, with_events=with_events) if conversation else None


def _load(
    conversation: Conversation, *, with_events: bool = True, scopes: tuple[dict[Any, Any], ...] | None = None
) -> SessionData:
    """Return the data of a conversation for reading: outside a run, nothing is recorded."""
    user_state, app_state, marks = scopes or (
        context.user_state(conversation.owner_id, conversation.agent),
        context.app_state(conversation.agent),
        context.marks_of_member(conversation.owner_id),
    )
    past = context.past_before(conversation.head_id, marks, with_events=with_events)
    return SessionData(
        run_id=conversation.pk,  # of no run: nothing is recorded
        conversation_id=str(conversation.pk),
        user_id=str(conversation.owner_id),
        agent=conversation.agent,
        prompt="",
        answers=[],
        past=past.payloads,
        state=past.state,
        user_state=user_state,
        app_state=app_state,
        updated_at=conversation.updated_at.timestamp(),
        revision=len(past.runs),
    )


def _list(app_name: str, user_id: str | None) -> list[SessionData]:
    if user_id is not None and not _is_number(user_id):
        return []
    found = Conversation.objects.filter(agent=app_name, deleted_at=None).order_by("-updated_at", "-id")
    if user_id is not None:
        found = found.filter(owner_id=int(user_id))
    conversations = list(reversed(found[:MAX_LISTED]))
    app_state = context.app_state(app_name)
    of_owners = {
        owner: (context.user_state(owner, app_name), app_state, context.marks_of_member(owner))
        for owner in {c.owner_id for c in conversations}
    }
    return [_load(c, with_events=False, scopes=of_owners[c.owner_id]) for c in conversations]


@transaction.atomic
def _delete(app_name: str, user_id: str, session_id: str) -> None:
    conversation = _find(app_name, user_id, session_id)
    if conversation is None:
        return
    if conversation.runs.active().exists():
        raise ValueError("The conversation is being answered: stop the run first.")
    Conversation.objects.filter(pk=conversation.pk).update(deleted_at=timezone.now())
    changes.announce_conversation(conversation)
