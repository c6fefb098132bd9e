"""ADK's memory service on Parley's tables: the member's own messages with the agent, and what it adds."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from google.adk.events import Event
from google.adk.memory import BaseMemoryService
from google.adk.memory.base_memory_service import SearchMemoryResponse
from google.adk.memory.memory_entry import MemoryEntry
from google.adk.sessions import Session
from google.genai import types

from chat.access import parse_id
from chat.agent.memory.session_service import attached_session
from chat.database import run_db
from chat.events import clean_json, clean_text, rfc3339
from chat.memories.finding import FoundMemory, find_memories
from chat.memories.models import Memory
from chat.memories.remembering import NewMemory, add_memories

METADATA_MAX = 4_000  # characters of JSON


class MemberMemoryService(BaseMemoryService):
    """Finds what a member and an agent have said to each other, and what the agent has added.

    Conversations are not copied: a deleted or hidden message is not found, because it is not there.
    """

    async def add_session_to_memory(self, session: Session) -> None:
        """Store nothing: its messages are found already."""

    async def add_events_to_memory(
        self,
        *,
        app_name: str,
        user_id: str,
        events: Sequence[Event],
        session_id: str | None = None,
        custom_metadata: Mapping[str, object] | None = None,
    ) -> None:
        """Store nothing: their messages are found already."""

    async def add_memory(
        self,
        *,
        app_name: str,
        user_id: str,
        memories: Sequence[MemoryEntry],
        custom_metadata: Mapping[str, object] | None = None,
    ) -> None:
        """Store the text of each entry, unless the member has turned memory off.

        An entry gets an id and a time of Parley's. Raises ValueError for one without text, or that is too
        long.
        """
        owner = _member(user_id)
        if owner is None:
            return
        added = [_new_memory(each, custom_metadata or {}) for each in memories]
        data = attached_session.get()
        is_of_run = data is not None and (data.agent, data.user_id) == (app_name, user_id)
        place = (
            {"conversation": parse_id(data.conversation_id), "run": data.run_id} if data and is_of_run else {}
        )
        await run_db(add_memories, owner, app_name, added, **place)

    async def search_memory(self, *, app_name: str, user_id: str, query: str) -> SearchMemoryResponse:
        """Return at most ten entries that share words with the query, the best first.

        Any text is a query. An entry of a message has no id: a message is deleted with its conversation.
        """
        owner = _member(user_id)
        if owner is None:
            return SearchMemoryResponse()
        found = await run_db(find_memories, owner, app_name, query)
        return SearchMemoryResponse(memories=[_entry(each) for each in found])

    async def delete_memory(self, *, app_name: str, user_id: str, memory_id: str | None = None) -> None:
        """Erase an entry that the agent has added to its memory of this member; do nothing without one."""
        owner, memory = _member(user_id), parse_id(memory_id or "")
        if owner is not None and memory:
            await run_db(Memory.objects.filter(owner=owner, agent=app_name, pk=memory).delete)


def _member(user_id: str) -> int | None:
    """Return the id of a User, or None for a name that is none."""
    # 18 digits fit into a column of 64 bits
    return int(user_id) if user_id.isascii() and user_id.isdigit() and len(user_id) <= 18 else None


def _new_memory(entry: MemoryEntry, metadata: Mapping[str, object]) -> NewMemory:
    texts = [clean_text(part.text) for part in entry.content.parts or () if part.text and not part.thought]
    kept = clean_json({**metadata, **entry.custom_metadata})
    if len(json.dumps(kept)) > METADATA_MAX:
        raise ValueError(f"The metadata of a memory has at most {METADATA_MAX} characters of JSON.")
    content: dict[str, Any] = {
        "role": clean_text(entry.content.role or "user"),
        "parts": [{"text": text} for text in texts],
    }
    return NewMemory(" ".join(texts).strip(), content, clean_text(entry.author or ""), kept)


def _entry(found: FoundMemory) -> MemoryEntry:
    if found.memory is None:
        return MemoryEntry(
            content=types.Content(role=found.role, parts=[types.Part(text=found.text)]),
            author=found.author,
            timestamp=rfc3339(found.at),
        )
    return MemoryEntry(
        id=str(found.memory.pk),
        content=types.Content.model_validate(found.memory.content),
        custom_metadata=found.memory.metadata,
        author=found.author or None,
        timestamp=rfc3339(found.at),
    )
