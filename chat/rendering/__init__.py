"""Markdown to safe HTML: the one place where what a model or a person wrote becomes markup.

Safe by construction: raw HTML is shown as text, links go through an allow-list, images become links, and
no style or id is ever written. nh3 cleans the result once more.

A server asks chat/rendering/process.py, which bounds the time; ``render`` has no bound.
"""

# Of the HTML that a text becomes. Raise it with every change of that; ``manage.py rerender`` does the rest.
RENDERER_VERSION = 4


def render(text: str) -> str:
    """The HTML of a Markdown text, safe to put into any page: its blocks, one root element each."""
    return "".join(render_blocks(text))


def render_blocks(text: str) -> list[str]:
    """As ``render``, block by block."""
    # Imported here: a server never loads the parsers, which take 12 MB and read hostile input in native code.
    from chat.rendering.blocks import to_blocks
    from chat.rendering.preprocess import prepare

    return [block.html for block in to_blocks(prepare(text))]
