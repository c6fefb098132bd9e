"""Operations of ``/api/v1`` for what agents remember of the member."""

from typing import Any

from django.http import HttpRequest
from ninja import Field, Router, Schema, Status

from chat.events import rfc3339
from chat.http import paging, parsing
from chat.http.fields import Fields
from chat.http.members import signed_in_user
from chat.memories.models import Memory
from chat.memories.remembering import MEMORY_MAX, edit_memory, erase_memory

memories_router = Router()


class MemoryChange(Fields):
    """Body of PATCH."""

    text: str = Field(description=f"At most {MEMORY_MAX} characters.")


class MemoryOut(Schema):
    id: str
    agent: str
    text: str
    author: str = Field(description="As the agent named it; may be empty.")
    conversation: str | None = Field(description="In which it was added; it leaves with this conversation.")
    created_at: str
    edited_at: str | None = Field(description="When the member edited it.")


class MemoriesOut(Schema):
    items: list[MemoryOut]
    next: str | None


@memories_router.get("/memories", response=MemoriesOut)
def list_memories(
    request: HttpRequest, agent: str = "", cursor: str | None = None, limit: str | None = None
) -> Any:
    own = Memory.objects.visible_to(signed_in_user(request).pk)
    if agent:
        own = own.filter(agent=agent)
    page, following = paging.page_of_newest(own, "created_at", cursor, paging.limit_of(limit))
    return {"items": [_memory_json(each) for each in page], "next": following}


@memories_router.patch(
    "/memories/{memory}",
    response=MemoryOut,
    openapi_extra={
        "requestBody": {
            "content": {"application/json": {"schema": MemoryChange.model_json_schema()}},
            "required": True,
        }
    },
)
def change_memory_text(request: HttpRequest, memory: str) -> Any:
    body = MemoryChange.read(parsing.json_body(request))
    return _memory_json(edit_memory(signed_in_user(request), memory, body.text))


@memories_router.delete("/memories/{memory}", response={204: None})
def delete_memory(request: HttpRequest, memory: str) -> Any:
    erase_memory(signed_in_user(request), memory)
    return Status(204, None)


def _memory_json(memory: Memory) -> dict[str, Any]:
    return {
        "id": str(memory.pk),
        "agent": memory.agent,
        "text": memory.text,
        "author": memory.author,
        "conversation": str(memory.conversation_id) if memory.conversation_id else None,
        "created_at": rfc3339(memory.created_at),
        "edited_at": rfc3339(memory.edited_at),
    }
