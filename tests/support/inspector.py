"""Check of rendered HTML, independent of the sanitizer: finds anything that a message may not contain."""

import re
from html.parser import HTMLParser

TAGS = set(
    "p h3 h4 h5 h6 ul ol li blockquote hr pre code span a em strong del sub sup kbd mark br "
    "table thead tbody tr th td div figure figcaption section button "
    "math menclose mfrac mi mn mo mover mpadded mphantom mroot mrow ms mspace msqrt mstyle msub msubsup "
    "msup mtable mtd mtext mtr munder munderover mmultiscripts mprescripts".split()
)
ATTRIBUTES = set(
    "class dir href title target rel start role tabindex aria-label type hidden "
    "display notation linethickness displaystyle scriptlevel mathvariant stretchy symmetric form lspace "
    "rspace minsize maxsize movablelimits accent accentunder width height depth voffset columnalign".split()
)
CLASSES = re.compile(
    r"code|table|task|copy|language|math|tex|footnote|footnote-ref|ta-(?:left|center|right)"
    r"|t-[A-Za-z0-9-]{1,20}|alert|level-[56]"
    r"|note-(?:note|tip|important|warning|caution)"
)
ADDRESS = re.compile(r"https?://[^\s]+|mailto:[^\s]+|#.*|/(?![/\\]).*", re.IGNORECASE)
CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Inspector(HTMLParser):
    """Parser that collects forbidden markup in ``faults``, and the content in ``text`` and ``links``."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.faults: list[str] = []
        self.text = ""
        self.links: list[dict[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in TAGS:
            self.faults.append(f"<{tag}>")
        for name, value in attrs:
            if name not in ATTRIBUTES:
                self.faults.append(f"{tag} {name}={value}")
        found = {name: value or "" for name, value in attrs}
        if tag == "a":
            self.links.append(found)
        href = found.get("href")
        if href is not None and (tag != "a" or not ADDRESS.fullmatch(href) or CONTROL.search(href)):
            self.faults.append(f"{tag} href {href!r}")
        for name in found.get("class", "").split():
            if not CLASSES.fullmatch(name):
                self.faults.append(f"class {name}")

    def handle_comment(self, data: str) -> None:
        self.faults.append(f"<!--{data}")

    def handle_decl(self, decl: str) -> None:
        self.faults.append(f"<!{decl}")

    def handle_pi(self, data: str) -> None:
        self.faults.append(f"<?{data}")

    def unknown_decl(self, data: str) -> None:
        self.faults.append(f"<![{data}")

    def handle_data(self, data: str) -> None:
        self.text += data


def inspect(html: str) -> Inspector:
    inspector = Inspector()
    inspector.feed(html)
    inspector.close()
    return inspector
