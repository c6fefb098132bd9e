"""Search of a member's memory for an agent: their conversations with it, and what it has added."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from math import log
from typing import Any

from chat.memories.models import Memory
from chat.memories.remembering import is_memory_on
from chat.models import Message
from chat.search.recall import RECALLED, query_terms, recall, recalled_messages
from chat.search.terms import Phrase, marks_in

TOLD_MAX = 10  # as ADK's own service
# Messages that are read: a few more, because some may not be told.
MESSAGES_READ = 2 * TOLD_MAX
EXCERPT_MAX = 1_000  # characters of one message; before the first word that was found at most a quarter of it
TOLD_CHARACTERS = 8_000  # of one result: 2,000 tokens in each model call of an agent that preloads it

Source = tuple[type[Memory] | type[Message], uuid.UUID]


@dataclass(frozen=True, slots=True)
class FoundMemory:
    """A message, or what an agent has added; then ``memory`` is that."""

    text: str
    role: str
    author: str
    at: datetime
    memory: Memory | None = None


def find_memories(owner: int, agent: str, query: str) -> list[FoundMemory]:
    """Return what shares words with the query, the best first: at most TOLD_MAX and TOLD_CHARACTERS.

    Rare words count more than common ones. Of the same words, what an agent has added is before messages,
    and the newest before older ones. Nothing is found while the member has memory off.
    """
    terms = query_terms(query)
    if not terms or not is_memory_on(owner):
        return []
    found: dict[str, list[Source]] = {
        term: [(Message, pk) for pk in ids] for term, ids in recall(owner, agent, terms).items()
    }
    added = Memory.objects.visible_to(owner).filter(agent=agent)
    for pk, own_terms in added.order_by("-created_at", "-pk").values_list("pk", "terms"):
        for term in {*own_terms.split(" ")}.intersection(terms):
            found[term].append((Memory, pk))
    best = _by_score(found)
    memories = added.in_bulk([pk for model, pk in best if model is Memory][:TOLD_MAX])
    ids = [pk for model, pk in best if model is Message][:MESSAGES_READ]
    messages = recalled_messages(owner, agent, ids).in_bulk()
    return _told(best, memories, messages, terms)


def _by_score(found: Mapping[str, list[Source]]) -> list[Source]:
    """Return the sources with the rarest terms first."""
    scores: dict[Source, float] = {}
    for sources in found.values():
        weight = log(1 + 2 * RECALLED / (1 + len(sources)))
        for source in sources:
            scores[source] = scores.get(source, 0) + weight
    # Ids are times, see new_id.
    return sorted(scores, key=lambda source: (scores[source], source[0] is Memory, source[1]), reverse=True)


def _told(
    best: list[Source],
    memories: Mapping[uuid.UUID, Memory],
    messages: Mapping[uuid.UUID, Message],
    terms: list[str],
) -> list[FoundMemory]:
    told: dict[str, FoundMemory] = {}  # by text: the same may have been said often
    left = TOLD_CHARACTERS
    for _model, pk in best:
        found = _of_memory(memories[pk]) if pk in memories else None
        found = found or (_of_message(messages[pk], terms) if pk in messages else None)
        if found and found.text not in told and len(found.text) <= left:
            told[found.text] = found
            left -= len(found.text)
        if len(told) == TOLD_MAX:
            break
    return list(told.values())


def _of_memory(memory: Memory) -> FoundMemory:
    role: Any = memory.content.get("role") or "user"
    return FoundMemory(memory.text, role, memory.author, memory.created_at, memory)


def _of_message(message: Message, terms: list[str]) -> FoundMemory:
    is_question = message.role == Message.Role.USER
    return FoundMemory(
        _excerpt(message.text, terms),
        "user" if is_question else "model",
        "user" if is_question else message.agent or "model",
        message.created_at,
    )


def _excerpt(text: str, terms: list[str]) -> str:
    """Return the part of a long text around the first term."""
    if len(text) <= EXCERPT_MAX:
        return text
    phrases = [Phrase([term], is_prefix=False, words=[term]) for term in terms]
    first, _end = next(marks_in(text, phrases), (0, 0))
    start = max(0, first - EXCERPT_MAX // 4)
    end = start + EXCERPT_MAX
    return f"{'…' if start else ''}{text[start:end].strip()}{'…' if end < len(text) else ''}"
