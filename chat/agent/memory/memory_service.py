"""ADK's memory service without a memory: a placeholder until memories are stored."""

from collections.abc import Mapping, Sequence

from google.adk.events import Event
from google.adk.memory import BaseMemoryService
from google.adk.memory.base_memory_service import SearchMemoryResponse
from google.adk.sessions import Session


class EmptyMemoryService(BaseMemoryService):
    """A memory service that stores nothing, so that agents with memory tools can run.

    A copy of conversations would outlive their deletion, and a search in it could return text that the
    member may no longer see. ``add_memory`` raises NotImplementedError, as in ADK 2.13's in-memory service.
    """

    async def add_session_to_memory(self, session: Session) -> None:
        """Store nothing."""

    async def add_events_to_memory(
        self,
        *,
        app_name: str,
        user_id: str,
        events: Sequence[Event],
        session_id: str | None = None,
        custom_metadata: Mapping[str, object] | None = None,
    ) -> None:
        """Store nothing."""

    async def delete_memory(self, *, app_name: str, user_id: str, memory_id: str | None = None) -> None:
        """Do nothing: there is none."""

    async def search_memory(self, *, app_name: str, user_id: str, query: str) -> SearchMemoryResponse:
        """Find nothing."""
        return SearchMemoryResponse()
