"""Gemini's stream of server-sent events: neighbours that only add text become one event."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

EVENT_END = re.compile(rb"\r?\n\r?\n")
PREFIX = b"data: "
# An event with another key is passed on as it came: signatures, thoughts, finish reasons, grounding,
# citations, safety ratings and probabilities belong to the chunk in which they were sent.
EVENT_KEYS = {"candidates", "usageMetadata", "modelVersion", "responseId", "createTime"}
CANDIDATE_KEYS = {"content", "index"}
CONTENT_KEYS = {"parts", "role"}
HALF_CHARACTER = re.compile(rb"\\u[dD][89a-fA-F]")  # joining two of these would make a character

Chunk = dict[str, Any]


def take_events(buffer: bytearray, arrived: bytes) -> list[bytes]:
    """Append ``arrived`` to ``buffer``, and return the events that are whole now, each with its blank line.

    They are removed from ``buffer``.
    """
    begin, search = 0, max(0, len(buffer) - 3)  # a blank line may have begun in the buffer
    buffer += arrived
    events = []
    for end in EVENT_END.finditer(buffer, search):
        events.append(bytes(buffer[begin : end.end()]))
        begin = end.end()
    del buffer[:begin]
    return events


def joined(events: Sequence[bytes]) -> Iterator[bytes]:
    """Yield the events with neighbours joined that are nothing but text of the same candidate."""
    before: Chunk | None = None
    unchanged = b""
    for event in events:
        chunk = _text_chunk(event)
        if chunk and before and _alike(before, chunk):
            before, unchanged = _join(before, chunk), b""
            continue
        if before:
            yield unchanged or _event(before)
        before, unchanged = chunk, event
        if not chunk:
            yield event
    if before:
        yield unchanged or _event(before)


def _text_chunk(event: bytes) -> Chunk | None:
    """Return the chunk if it is nothing but text of one candidate, else None."""
    line = event.strip()
    if not line.startswith(PREFIX) or b"\n" in line or HALF_CHARACTER.search(line):
        return None
    try:
        chunk = json.loads(line[len(PREFIX) :])
        [candidate] = chunk["candidates"]
        content = candidate["content"]
        [part] = content["parts"]
        known = (
            chunk.keys() <= EVENT_KEYS
            and candidate.keys() <= CANDIDATE_KEYS
            and content.keys() <= CONTENT_KEYS
        )
        is_text = part.keys() == {"text"} and isinstance(part["text"], str) and part["text"] != ""
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return chunk if known and is_text else None


def _alike(first: Chunk, second: Chunk) -> bool:
    one, other = first["candidates"][0], second["candidates"][0]
    return bool(
        one.get("index", 0) == other.get("index", 0)
        and one["content"].get("role") == other["content"].get("role")
        and all(first.get(key) == second.get(key) for key in ("modelVersion", "responseId"))
    )


def _join(first: Chunk, second: Chunk) -> Chunk:
    """Return one chunk with both texts. Other values are the second one's: its usage is the sum so far."""
    texts = [chunk["candidates"][0]["content"]["parts"][0]["text"] for chunk in (first, second)]
    candidate = second["candidates"][0]
    content = candidate["content"] | {"parts": [{"text": "".join(texts)}]}
    return first | second | {"candidates": [candidate | {"content": content}]}


def _event(chunk: Chunk) -> bytes:
    # In ASCII: a raw U+2028 in the JSON would end a line for httpx.
    return PREFIX + json.dumps(chunk).encode() + b"\r\n\r\n"
