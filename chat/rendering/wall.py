"""The second wall: what leaves the renderer is cleaned once more, whatever the renderer did."""

import nh3

HTML = set(
    "p h3 h4 h5 h6 ul ol li blockquote hr pre code span a em strong del sub sup kbd mark br "
    "table thead tbody tr th td div figure figcaption section button".split()
)
# MathML Core and what math-core writes beside it. No "a", "maction", "semantics" or "annotation-xml",
# which have all been ways to run script.
MATH = set(
    "math menclose mfrac mi mn mo mover mpadded mphantom mroot mrow ms mspace msqrt mstyle msub msubsup "
    "msup mtable mtd mtext mtr munder munderover mmultiscripts mprescripts".split()
)
MATH_ATTRIBUTES = {
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
    tags=HTML | MATH,
    attributes={
        "*": {"class", "dir"},
        "a": {"href", "title", "target"},
        "ol": {"start"},
        "div": {"role", "tabindex", "aria-label"},
        "pre": {"tabindex"},
        "span": {"role", "aria-label"},
        "button": {"type", "hidden"},
        **MATH_ATTRIBUTES,
    },
    url_schemes={"http", "https", "mailto"},
    link_rel="nofollow noopener noreferrer ugc",
)


def clean(html: str) -> str:
    """``html`` with nothing in it but what a message may show."""
    return CLEANER.clean(html)
