"""HTML sanitizer: the allow-list that all HTML of the renderer passes, safe or not."""

import re
from itertools import pairwise

import nh3

HTML_ELEMENTS = set(
    "p h3 h4 h5 h6 ul ol li blockquote hr pre code span a em strong del sub sup kbd mark br "
    "table thead tbody tr th td div figure figcaption section button".split()
)
# MathML Core, and the other elements of math-core. No "a", "maction", "semantics" or "annotation-xml",
# which have all been ways to run script.
MATHML_ELEMENTS = set(
    "math menclose mfrac mi mn mo mover mpadded mphantom mroot mrow ms mspace msqrt mstyle msub msubsup "
    "msup mtable mtd mtext mtr munder munderover mmultiscripts mprescripts".split()
)
MATHML_ATTRIBUTES = {
    "math": {"display"},
    "menclose": {"notation"},
    "mfrac": {"linethickness", "displaystyle"},
    "mi": {"mathvariant"},
    "mo": {"stretchy", "symmetric", "form", "lspace", "rspace", "minsize", "maxsize", "movablelimits"},
    "mover": {"accent"},
    "mpadded": {"width", "height", "depth", "lspace", "voffset"},
    "mspace": {"width", "height", "depth"},
    "mstyle": {"displaystyle", "scriptlevel"},
    "mtable": {"displaystyle", "scriptlevel", "columnalign"},
    "munder": {"accentunder"},
    "munderover": {"accent", "accentunder"},
}

CLEANER = nh3.Cleaner(
    tags=HTML_ELEMENTS | MATHML_ELEMENTS,
    attributes={
        "*": {"class", "dir"},
        "a": {"href", "title", "target"},
        "ol": {"start"},
        "div": {"role", "tabindex", "aria-label"},
        "pre": {"tabindex"},
        "span": {"role", "aria-label"},
        "button": {"type", "hidden"},
        **MATHML_ATTRIBUTES,
    },
    url_schemes={"http", "https", "mailto"},
    link_rel="nofollow noopener noreferrer ugc",
)


# nh3's time for a run of text grows with the square of what it escapes there. Longer runs are divided.
MAX_ESCAPED = 4000
NEEDS_ESCAPE = re.compile("[&\u00a0]")


def sanitize(html: str) -> str:
    """Return ``html`` with only the elements and attributes that a message may have."""
    if html.count("&") + html.count("\u00a0") > MAX_ESCAPED:
        html = "<".join(map(_divided, html.split("<")))
    return CLEANER.clean(html)


def _divided(piece: str) -> str:
    """Return the inside of a tag and the text after it, long text divided by empty elements."""
    tag, end, text = piece.partition(">")
    cuts = [found.start() for found in NEEDS_ESCAPE.finditer(text)][MAX_ESCAPED::MAX_ESCAPED]
    runs = [text[start:stop] for start, stop in pairwise([0, *cuts, len(text)])]
    return tag + end + "<span></span>".join(runs)
