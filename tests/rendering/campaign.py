"""Check of each reply of the corpus as it streams: run ``python -m tests.rendering.campaign``.

Each reply is cut at every 7th character. While it streams, it has no mark that its end does not have, and no
letter is lost or shown wrongly; at its end it is what a reload shows.

The command resumes: a state file lists the replies that passed with this version of the renderer. Tests in
``tests/rendering/test_corpus.py`` run a sample.
"""

import argparse
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from html import unescape
from pathlib import Path

from tests.rendering.corpus import CASES

STEP = 7
MAX_HELD_BACK = 80  # letters of a line that is not decided yet
# Only the text to come shows what these are.
UNDECIDABLE = {
    "code: a tick that opens nothing",
    "constructs: reference links",
    "everyday_school: a word problem",
    "mixed: a reference and prices",
    "prices: special parameters of a shell",
}
MARK = re.compile(r"\*\*|~~|`|\]\(|!\[|\\\(|\\\[|\$\$|\|[-:]|#{2,}|\[[ x]\]|\[\^")
CODE = re.compile(r"<(pre|code)\b.*?</\1>", re.DOTALL)
FORMULA = re.compile(r"<math\b.*?</math>|<div class=\"math\".*?</div>", re.DOTALL)
TAG = re.compile(r"<[^>]*>")


def visible(html: str) -> str:
    """Return the text of HTML without its code and formulas."""
    return TAG.sub("", CODE.sub("", FORMULA.sub("", html)))


def letters(html: str) -> str:
    """Return the letters and digits of HTML, with those of code, without those of formulas."""
    return re.sub(r"[\W_]+", "", unescape(TAG.sub("", FORMULA.sub("", html))))


def faults_of(name: str, cuts: Iterable[int]) -> Iterator[str]:
    """Yield what is wrong with a reply of the corpus that has arrived up to each of the ``cuts``."""
    from chat.rendering import render, render_blocks
    from chat.rendering.stream import MarkdownStream

    source = CASES[name].source
    final = render(source)
    marks, whole = Counter(MARK.findall(visible(final))), letters(final)
    stream, at = MarkdownStream(), 0
    for cut in cuts:
        stream.feed(source[at:cut])
        at = cut
        stream.close()
        shown = "".join(stream.closed) + stream.open_html()
        if name in UNDECIDABLE:
            continue
        if raw := Counter(MARK.findall(visible(shown))) - marks:
            yield f"{cut}: raw {list(raw)} in {visible(shown)[-60:]!r}"
        so_far = letters(shown)
        if "math" not in shown and not whole.startswith(so_far):
            yield f"{cut}: other letters in {so_far[-60:]!r}"
        if "math" not in shown and len(letters(render(source[:cut]))) - len(so_far) > MAX_HELD_BACK:
            yield f"{cut}: letters are lost after {so_far[-60:]!r}"
    stream.feed(source[at:])
    stream.close()
    if stream.finish() != render_blocks(source):
        yield "the stream's end differs from a reload"


def run(state: Path) -> int:
    """Check each reply that ``state`` does not list, and return the number of faults."""
    from chat.rendering import RENDERER_VERSION

    state.parent.mkdir(exist_ok=True)
    done = set(state.read_text().splitlines()) if state.exists() else set()
    faults = 0
    for name, case in CASES.items():
        key = f"{RENDERER_VERSION} {name}"
        if key in done:
            continue
        found = list(faults_of(name, range(STEP, len(case.source), STEP)))
        faults += len(found)
        for fault in found:
            sys.stdout.write(f"{name}: {fault}\n")
        if not found:
            with state.open("a") as file:
                file.write(key + "\n")
    sys.stdout.write(f"{len(CASES)} replies, {faults} faults\n")
    return faults


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", type=Path, default=Path("var/rendering-campaign"))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    import django

    django.setup()
    sys.exit(bool(run(parser.parse_args().state)))
