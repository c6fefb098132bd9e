"""Markdown to safe HTML, for all text of models and users; servers call chat/rendering/renderer.py instead.

The HTML is safe by construction: raw HTML is shown as text, links go through an allow-list, images become
links, and no style or id is ever written. nh3 then sanitizes it.
"""

# Raise it with every change of the HTML; ``manage.py rerender`` then renders stored texts again.
RENDERER_VERSION = 7


def render(text: str) -> str:
    """Return the safe HTML of a Markdown text: its blocks, one root element each. Its time is unbounded."""
    return "".join(render_blocks(text))


def render_blocks(text: str) -> list[str]:
    """Return the HTML of each block of a Markdown text."""
    # A server never loads the parsers: they take 12 MB, and read hostile input in native code.
    from chat.rendering.blocks import to_blocks
    from chat.rendering.preprocess import prepare

    return [block.html for block in to_blocks(prepare(text))]
