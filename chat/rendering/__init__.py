"""Markdown to safe HTML: the one place where what a model or a person wrote becomes markup.

Safe by construction: raw HTML is shown as text, links go through an allow-list, images become links, and
no style or id is ever written. nh3 cleans the result once more.
"""

from chat.models import Message
from chat.rendering.blocks import to_blocks
from chat.rendering.source import prepare

# Of the HTML that a text becomes. Raise it with every change of that; ``manage.py rerender`` does the rest.
RENDERER_VERSION = 3


def render(text: str) -> str:
    """The HTML of a Markdown text, safe to put into any page: its blocks, one root element each."""
    return "".join(whole(text))


def html_of(message: Message) -> str:
    """The HTML of a stored reply: as it is stored, or rendered now where another renderer wrote that, so
    that a fault that was mended is mended for what is old, too. A page needs no more than its own length.
    """
    return message.html if message.renderer_version == RENDERER_VERSION else render(message.text)


def whole(text: str) -> list[str]:
    """As ``render``, block by block."""
    return [block.html for block in to_blocks(prepare(text))]
