"""Files of messages, as cards on the member's pages: a question's, and those that an agent made."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from chat.events import has_stored_file
from chat.files.kinds import PDF, PICTURES, PLAYED
from chat.rendering.renderer import render_unfinished_in_time
from chat.rendering.roots import root_elements

# The largest box of a picture in a message, in CSS pixels; chat/static/chat/file_cards.js has the same one.
SHOWN_WIDTH = 384
SHOWN_HEIGHT = 320
REMEMBERED_COUNTS = 512


@dataclass(frozen=True, slots=True)
class FileCard:
    """File, as a page shows it."""

    pk: str
    name: str
    mime: str
    size: int  # bytes
    width: int | None = None  # pixels, of pictures
    height: int | None = None
    version: int | None = None  # of an artifact

    @property
    def kind(self) -> str:
        """The kind of card: "picture", "audio", "video", "pdf" or "other"."""
        if self.mime in PICTURES.values():
            return "picture"
        if self.mime in PLAYED.values():
            return self.mime.partition("/")[0]
        return "pdf" if self.mime == PDF else "other"

    @property
    def address(self) -> str:
        return f"/files/{self.pk}/{quote(self.name, safe='')}"

    @property
    def thumbnail(self) -> str:
        return f"/thumbnails/{self.pk}"

    @property
    def shown_size(self) -> tuple[int, int] | None:
        """Width and height of a picture in a message: reserved, so that nothing moves when it is loaded."""
        if not self.width or not self.height:
            return None
        scale = min(1.0, SHOWN_WIDTH / self.width, SHOWN_HEIGHT / self.height)
        return max(1, int(self.width * scale + 0.5)), max(1, int(self.height * scale + 0.5))


@dataclass(slots=True)
class ReplyPiece:
    """Files, and the blocks of text after them."""

    files: list[FileCard] = field(default_factory=list)
    html: str = ""


def card_of_file(item: dict[str, Any]) -> FileCard:
    """Return the card of a file's item, or of an event ``file``."""
    return FileCard(
        item["file"],
        item["name"],
        item["mime"],
        item["size"],
        item.get("width"),
        item.get("height"),
        item.get("version"),
    )


def cards_of(items: Iterable[dict[str, Any]]) -> list[FileCard]:
    return [card_of_file(item) for item in items if has_stored_file(item)]


def cut_at_files(html: str, items: Sequence[dict[str, Any]]) -> list[ReplyPiece]:
    """Return the HTML of the items' text, cut at their files.

    A file comes after the block that was being written when it was made, as LiveReply shows it.
    """
    pieces = [ReplyPiece()]
    if not any(has_stored_file(item) for item in items):
        pieces[0].html = html
        return pieces
    blocks = root_elements(html)
    text, placed = "", 0
    for item in items:
        if item["type"] == "text":
            text += item["text"]
        elif has_stored_file(item):
            count = min(_count_blocks(text), len(blocks))
            if count > placed:
                pieces[-1].html = "".join(blocks[placed:count])
                pieces.append(ReplyPiece())
                placed = count
            pieces[-1].files.append(card_of_file(item))
    pieces[-1].html = "".join(blocks[placed:])
    return pieces


@lru_cache(REMEMBERED_COUNTS)
def _count_blocks(text: str) -> int:
    """Return how many blocks the beginning of a reply has; a page shows the same ones again and again."""
    return len(root_elements(render_unfinished_in_time(text))) if text.strip() else 0
