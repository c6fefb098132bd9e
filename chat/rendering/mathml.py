r"""LaTeX to MathML by math-core, which escapes what it is given.

latex2mathml is not used: it let ``\text{<img onerror=…>}`` through, which ran.
"""

import re
from functools import lru_cache
from html import escape

from math_core import LatexError, LatexToMathML

from chat.rendering.sanitizer import MATHML_ATTRIBUTES, MATHML_ELEMENTS

# math-core recurses, up to 5 KB of stack a level, and its overflow is a crash of the process: 200 nested
# \frac{ were too many for 512 KB. A thread has 8 MB. Only commands and braces nest; macros, which multiply
# them, are not expanded.
MAX_STEPS = 400
MAX_FORMULA_LENGTH = 8_000  # characters; a page of formulas has 2,000
STEP = re.compile(r"\\[A-Za-z]|\{")

MATHML_TAG = re.compile(r"<(/?)([a-z]+)((?: [^<>]*)?)>")
ATTRIBUTE = re.compile(r' ([a-z]+)="([^"<>&]*)"')
ALIGNED = re.compile(r"text-align: ?(left|right|center)")

_latex = LatexToMathML(fancy_error=False, max_expansions=0)


@lru_cache(2048)
def to_mathml(tex: str, *, display: bool) -> str:
    """Return a formula as MathML; its source if it is invalid, too long or nested too deeply."""
    if len(tex) > MAX_FORMULA_LENGTH or sum(1 for _ in STEP.finditer(tex)) > MAX_STEPS:
        return _source(tex)
    try:
        mathml = _latex.convert_with_local_state(tex.strip(), displaystyle=display)
    except LatexError:
        return _source(tex)
    return MATHML_TAG.sub(_tag, mathml)


def _source(tex: str) -> str:
    return f'<code class="tex">{escape(tex, quote=False)}</code>'


def _tag(found: re.Match[str]) -> str:
    """Return a tag of math-core's with only allowed attributes."""
    slash, name, rest = found.groups()
    if name not in MATHML_ELEMENTS:
        return ""
    kept = MATHML_ATTRIBUTES.get(name, set())
    attributes = [f' {key}="{value}"' for key, value in ATTRIBUTE.findall(rest) if key in kept]
    # math-core aligns by style attributes, which the pages' CSP forbids.
    if aligned := ALIGNED.search(rest):
        attributes.append(f' class="ta-{aligned[1]}"')
    return f"<{slash}{name}{''.join(attributes)}{'/' if rest.endswith('/') else ''}>"
