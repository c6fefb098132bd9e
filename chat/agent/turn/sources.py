"""The sources of a reply, from the grounding and citation metadata of ADK's events."""

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from google.adk.events import Event as AdkEvent
from google.genai import types

from chat import events
from chat.events import Event

MAX_SOURCES = 200
SOURCE_TITLE_LENGTH = 200  # characters
URI_LENGTH = 2000
WEB_ADDRESS = re.compile(r"https?://[^\s<>\"\\^`{}|\x00-\x20\x7f]+", re.IGNORECASE)


@dataclass(slots=True)
class ReplySources:
    """Collector of one reply's sources, each once; spans are in code points of the reply's text."""

    _items: list[dict[str, Any]] = field(default_factory=list)
    _spans: list[dict[str, Any]] = field(default_factory=list)
    _queries: dict[str, None] = field(default_factory=dict)

    def add(self, adk_event: AdkEvent, start: int, text: str) -> None:
        """Add the sources of a model call, whose shown ``text`` begins at code point ``start``."""
        if adk_event.grounding_metadata:
            self._add_grounding(adk_event.grounding_metadata, adk_event.content, start, text)
        for citation in (adk_event.citation_metadata and adk_event.citation_metadata.citations) or []:
            number = self._number(citation.title, citation.uri)
            segment = types.Segment(start_index=citation.start_index, end_index=citation.end_index)
            if number:
                self._add_span(segment, [number], adk_event.content, start, text)

    def event(self) -> Event | None:
        """Return the event with all sources and forget them; None without any."""
        if not (self._items or self._queries):
            return None
        found = events.sources(self._items, self._spans, list(self._queries))
        self._items, self._spans, self._queries = [], [], {}
        return found

    def _add_grounding(
        self, metadata: types.GroundingMetadata, content: types.Content | None, start: int, text: str
    ) -> None:
        for query in [*(metadata.web_search_queries or []), *(metadata.retrieval_queries or [])]:
            if cleaned := _one_line(query):
                self._queries[cleaned] = None
        numbers = [self._number_of(chunk) for chunk in metadata.grounding_chunks or []]
        for support in metadata.grounding_supports or []:
            used = [numbers[n] for n in support.grounding_chunk_indices or [] if 0 <= n < len(numbers)]
            if support.segment and (named := list(dict.fromkeys(filter(None, used)))):
                self._add_span(support.segment, named, content, start, text)

    def _number_of(self, chunk: types.GroundingChunk) -> int:
        if chunk.web:
            return self._number(chunk.web.title or chunk.web.domain, chunk.web.uri)
        if chunk.image:
            return self._number(chunk.image.title or chunk.image.domain, chunk.image.source_uri)
        if chunk.maps:
            return self._number(chunk.maps.title, chunk.maps.uri)
        context = chunk.retrieved_context
        return self._number(context.title or context.document_name, context.uri) if context else 0

    def _number(self, title: str | None, uri: str | None) -> int:
        """Return the number of this source from 1 on; 0 if it has no name, or if there are too many."""
        address = uri or ""
        host = _host(address) if WEB_ADDRESS.fullmatch(address) and len(address) <= URI_LENGTH else ""
        address = address if host else ""
        name = _one_line(title or "") or host
        if not name:
            return 0
        for item in self._items:
            if item["uri"] == address and (address or item["title"] == name):
                return int(item["n"])
        if len(self._items) == MAX_SOURCES:
            return 0
        self._items.append({"n": len(self._items) + 1, "title": name, "uri": address, "host": host})
        return len(self._items)

    def _add_span(
        self, segment: types.Segment, numbers: list[int], content: types.Content | None, start: int, text: str
    ) -> None:
        place = _place(segment, content, text)
        if place:
            self._spans.append({"start": start + place[0], "end": start + place[1], "items": numbers})


def _place(segment: types.Segment, content: types.Content | None, text: str) -> tuple[int, int] | None:
    """Return the code points of a segment in the shown text; its indexes are bytes within a part."""
    parts = (content.parts if content else None) or []
    texts = [part.text for part in parts if part.text and not part.thought]
    index = segment.part_index or 0
    if index < len(parts) and (own := parts[index].text) and not parts[index].thought:
        texts = [own, *texts]  # a model that thought first may count its parts without the thoughts
    for part_text in texts:
        encoded = part_text.encode(errors="replace")
        first = len(encoded[: segment.start_index or 0].decode(errors="ignore"))
        last = len(encoded[: segment.end_index or 0].decode(errors="ignore"))
        said = part_text[first:last]
        if not said or (segment.text and said.strip() != segment.text.strip()):
            continue
        if (base := text.find(part_text)) >= 0:
            return base + first, base + last
        if (at := text.find(said)) >= 0:
            return at, at + len(said)
    if segment.text and (at := text.find(segment.text)) >= 0:  # wrong indexes, right words
        return at, at + len(segment.text)
    return None


def _one_line(value: str) -> str:
    return " ".join(events.clean_text(value).split())[:SOURCE_TITLE_LENGTH]


def _host(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""
