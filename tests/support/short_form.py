"""Short form of HTML for ``tests/rendering/corpus``: its text and structure without decoration.

It omits attributes, wrappers of tables and formulas, and colors. A link is ``<a href>``, a code block
``<pre language>`` with ⏎ for a line end, an inline formula ⟨TeX⟩ and a display formula ⟪TeX⟫.
"""

import re
from html import escape

from chat.rendering.mathml import to_mathml
from chat.rendering.sanitizer import sanitize
from tests.support.dom import VOID, Element, parse

FORMULA = re.compile(r"⟨(.*?)⟩|⟪(.*?)⟫")
TRANSPARENT = {"thead", "tbody"}
BLOCKS = "p|h[3-6]|ul|ol|li|blockquote|hr|table|tr|th|td|section"


def short_form(html: str) -> str:
    """Return the short form of HTML."""
    return _tidy("".join(map(_node, parse(html).children)))


def expected_short_form(expected: str) -> str:
    """Return the short form that a case expects, with its formulas as MathML."""
    return _tidy(FORMULA.sub(_mathml, expected))


def _mathml(found: re.Match[str]) -> str:
    inline, display = (part and part.replace("&lt;", "<").replace("&gt;", ">") for part in found.groups())
    tex = (inline or display).replace("&amp;", "&")
    html = sanitize(to_mathml(tex, display=display is not None))
    assert "<code" not in html, f"{tex} is no formula"
    return _node(parse(html).one("math"))


def _tidy(short: str) -> str:
    short = re.sub(r"\s+", " ", short)
    return re.sub(rf" ?(</?(?:{BLOCKS})>|<br>) ?", r"\1", short)


def _node(node: Element | str) -> str:
    if isinstance(node, str):
        return escape(node, quote=False)
    inner = "".join(map(_node, node.children))
    classes = (node.get("class") or "").split()
    if node.tag in TRANSPARENT or (node.tag == "div" and {"table", "math"} & set(classes)):
        return inner
    if node.tag == "figure":
        code = escape(node.one("code").text.removesuffix("\n"), quote=False)
        language = node.one("span", class_="language").text or "text"
        return f"<pre {language}>{code.replace(chr(10), '⏎')}</pre>"
    if node.tag == "a":
        return f"<a {escape(node['href'], quote=False)}>{inner}</a>"
    if node.tag == "math":
        return f"<math {node.get('display') or 'inline'}>{inner}</math>"
    return f"<{node.tag}>" if node.tag in VOID else f"<{node.tag}>{inner}</{node.tag}>"
