"""Client of ``?view=html`` (docs/streaming.md): applies each ``html`` event to a reply's body."""

from html.parser import HTMLParser
from typing import Any

from tests.support.sse_client import SseEvent

VOID = {"br", "hr"}


class _Roots(HTMLParser):
    """Split HTML into its top-level elements."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=False)
        self.pieces: list[str] = []
        self._depth = 0
        self._begin = 0
        self._lines = [0]
        for line in html.split("\n"):
            self._lines.append(self._lines[-1] + len(line) + 1)
        self._html = html
        self.feed(html)
        self.close()
        assert self._depth == 0, html

    def _at(self) -> int:
        line, column = self.getpos()
        return self._lines[line - 1] + column

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if self._depth == 0:
            self._begin = self._at()
        self._depth += 1
        if tag in VOID:
            self._leave(len(self.get_starttag_text() or ""))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            self._leave(len(f"</{tag}>"))

    def _leave(self, length: int) -> None:
        self._depth -= 1
        if self._depth == 0:
            self.pieces.append(self._html[self._begin : self._at() + length])

    def handle_data(self, data: str) -> None:
        assert self._depth, f"text between blocks: {data!r}"


def roots(html: str) -> list[str]:
    """Return the top-level elements of ``html``; fail if there is text or a comment beside them."""
    found = _Roots(html).pieces
    assert "".join(found) == html
    return found


class Body:
    """Children of the element that holds a reply."""

    def __init__(self) -> None:
        self.children: list[str] = []
        self._open = ""

    @property
    def html(self) -> str:
        return "".join(self.children)

    def take(self, data: dict[str, Any]) -> None:
        assert set(data) == {"from", "closed", "keep", "open"}
        assert data["from"] <= len(self.children)
        kept = self._open.encode("utf-16-le")[: 2 * data["keep"]].decode("utf-16-le")
        self._open = kept + data["open"]
        for html in data["closed"]:
            assert roots(html) == [html]
        self.children[data["from"] :] = [*data["closed"], *roots(self._open)]


def body_of(events: list[SseEvent]) -> Body:
    """Return the body after a connection's events; fail on an event that has plain text."""
    body = Body()
    for event in events:
        if event.name == "html":
            body.take(event.json())
        else:
            assert not event.is_text, event
    return body
