"""Changes of the memory that agents have of a member: by the agents, and by the member."""

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.db.models import Count, Max
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import User
from chat import refusals
from chat.access import required_id
from chat.memories.models import AUTHOR_MAX, Memory, MemoryOptOut
from chat.search.terms import terms_of
from chat.text import check_text, is_visible

MEMORY_MAX = 2_000  # characters of one text
MEMORIES_MAX = 300  # of one member with one agent: a search reads all of them. The oldest leave


@dataclass(frozen=True, slots=True)
class NewMemory:
    """Memory that an agent adds. ``content`` is ADK's as JSON, without bytes."""

    text: str
    content: Mapping[str, Any]
    author: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


def is_memory_on(owner: int) -> bool:
    return not MemoryOptOut.objects.filter(pk=owner).exists()


@transaction.atomic
def add_memories(
    owner: int,
    agent: str,
    added: list[NewMemory],
    *,
    conversation: uuid.UUID | None = None,
    run: uuid.UUID | None = None,
) -> None:
    """Store what an agent has added in this run, if the member has memory on.

    The same text is stored once in a conversation. Raises ValueError, in words for the agent's author, for a
    text that is empty or too long.
    """
    for each in added:
        if not is_visible(each.text):
            raise ValueError("A memory needs text: pictures and other media are not kept.")
        if len(each.text) > MEMORY_MAX:
            raise ValueError(f"A memory has at most {MEMORY_MAX} characters, not {len(each.text)}.")
    # Locked, so that the limit holds for two runs at the same time.
    if not User.objects.select_for_update(no_key=True).filter(pk=owner).exists() or not is_memory_on(owner):
        return
    rows = [
        Memory(
            owner_id=owner,
            agent=agent,
            conversation_id=conversation,
            run_id=run,
            text=each.text,
            content=each.content,
            author=each.author[:AUTHOR_MAX],
            metadata=each.metadata,
            terms=_terms(each.text),
            digest=hashlib.sha256(each.text.encode()).hexdigest(),
        )
        for each in added
    ]
    Memory.objects.bulk_create(rows, ignore_conflicts=True)
    own = Memory.objects.filter(owner=owner, agent=agent)
    newest = own.order_by("-created_at", "-pk").values_list("pk", flat=True)
    if surplus := list(newest[MEMORIES_MAX : MEMORIES_MAX + len(rows)]):
        own.filter(pk__in=surplus).delete()


def agents_that_remember(member: User) -> list[tuple[str, int]]:
    """Return the agents that have added memories of the member, with how many, the latest one first."""
    found = Memory.objects.visible_to(member.pk).order_by().values("agent")
    counted = found.annotate(count=Count("pk"), latest=Max("created_at")).order_by("-latest", "agent")
    return [(row["agent"], row["count"]) for row in counted]


def access_memory(member: User, memory: str) -> Memory:
    """Return one of the member's own memories. Raises the 404 refusal."""
    found = Memory.objects.visible_to(member.pk).filter(pk=required_id(memory)).first()
    if found is None:
        raise refusals.not_found()
    return found


def edit_memory(member: User, memory: str, text: str) -> Memory:
    """Store the member's own words in place of the agent's. Raises 400, 404 and 422 refusals."""
    check_text(text)
    found = access_memory(member, memory)
    text = text.strip()
    if not is_visible(text):
        raise refusals.unprocessable("blank", _("A memory needs at least one letter. You can erase it."))
    if len(text) > MEMORY_MAX:
        raise refusals.unprocessable(
            "too_long", _("A memory has at most %(limit)s characters.") % {"limit": MEMORY_MAX}
        )
    changed = {
        "text": text,
        "content": {"role": found.content.get("role") or "user", "parts": [{"text": text}]},
        "terms": _terms(text),
        "edited_at": timezone.now(),
    }
    # Guarded: it may be erased at the same time.
    if not Memory.objects.filter(pk=found.pk).update(**changed):
        raise refusals.not_found()
    for name, value in changed.items():
        setattr(found, name, value)
    return found


def erase_memory(member: User, memory: str) -> None:
    """Erase one of the member's own memories. Raises the 404 refusal."""
    access_memory(member, memory).delete()


def erase_memories_of(member: User, agent: str) -> None:
    """Erase all that this agent has added to its memory of the member."""
    Memory.objects.filter(owner=member, agent=agent).delete()


def turn_memory(member: User, *, on: bool) -> None:
    """Let agents remember, or not. What they have added stays until it is erased."""
    if on:
        MemoryOptOut.objects.filter(pk=member.pk).delete()
    else:
        MemoryOptOut.objects.get_or_create(owner=member)


def _terms(text: str) -> str:
    return " ".join(dict.fromkeys(terms_of(text)))
