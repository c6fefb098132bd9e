"""Links: bare addresses in text, the allow-list of schemes, and the start tag."""

import re
from collections.abc import Iterator
from html import escape

# No control characters: a browser reads "/<tab>/host" as "//host".
SAFE_URL = re.compile(r"(?:https?://|mailto:|#|/(?![/\\]))[^\x00-\x1f\x7f]*\Z", re.IGNORECASE)

# Characters of an address or a title: nh3's time for each grows with the square.
MAX_ADDRESS_LENGTH = 4000

FULL_WIDTH = "\u3000-\u303f\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
TYPOGRAPHY = "\u2013-\u201f\u2026\u2039\u203a«»"
# Of sentences; the last line has the Greek, Armenian, Arabic, Indic and Ethiopic signs.
SENTENCE_ENDS = (
    "?!.,:;*_~{}&\u0387\u00b7\u0589\u060c\u061b\u061f\u06d4\u0964\u0965\u1362\u1363\u1364\u1365\u1366"
)
NO_ADDRESS = FULL_WIDTH + TYPOGRAPHY + "\ufdd0-\ufdd3"
WEB = r"(?i:https?://|www\.(?=[a-z0-9-]+\.[a-z]))"
STARTS_LIKE_WEB = re.compile(WEB)
SCHEME = re.compile("https?://|mailto:", re.IGNORECASE)
ADDRESS = re.compile(
    rf"""
    (?<![A-Za-z0-9_]) {WEB} [^\s<>"'`\\|{NO_ADDRESS}]+
    | (?<![A-Za-z0-9.+_-]) (?:mailto:)? [A-Za-z0-9.+_-]+
      @ [A-Za-z0-9_-]+ (?:\.[A-Za-z0-9_-]+)* \.[A-Za-z0-9_-]*[A-Za-z0-9]
    """,
    re.VERBOSE,
)
# Chinese, Japanese and Korean letters after a Latin one end the address.
WORDS_AFTER = re.compile(r"(?<=[A-Za-z0-9])[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\U00020000-\U0003ffff]")
ENTITY = re.compile(r"&[A-Za-z0-9]{1,32};\Z")
CLOSERS = {")": "(", "]": "["}


def is_safe(url: str) -> bool:
    return len(url) <= MAX_ADDRESS_LENGTH and bool(SAFE_URL.match(url))


def opening(url: str, title: str = "") -> str:
    """Return the start tag of a link: to a place in the same reply, or in a new tab."""
    shown = f' title="{escape(title[:MAX_ADDRESS_LENGTH])}"' if title else ""
    target = "" if url.startswith("#") else ' target="_blank"'
    return f'<a href="{escape(url.replace(" ", "%20"))}"{shown}{target}>'


def to_footnote(label: str) -> str:
    return f"#fn-{label}"


def to_reference(label: str) -> str:
    """Return the address of the first reference to a footnote."""
    return f"#fnref-{label}"


def addresses(text: str) -> Iterator[tuple[int, int]]:
    """Yield the range of each bare address: http, https, www and e-mail, as GFM ends them."""
    if "://" not in text and "@" not in text and "ww." not in text.lower():
        return
    for found in ADDRESS.finditer(text):
        web = STARTS_LIKE_WEB.match(found[0])
        address = _trimmed(found[0]) if web else found[0]
        if len(address) <= MAX_ADDRESS_LENGTH and not (web and len(address) <= web.end()):
            yield found.start(), found.start() + len(address)


def with_links(text: str) -> str:
    """Return plain text as HTML, with its addresses as links."""
    pieces, at = [], 0
    for start, end in addresses(text):
        shown = text[start:end]
        pieces += [escape(text[at:start], quote=False), opening(_url(shown)), escape(shown), "</a>"]
        at = end
    return "".join(pieces) + escape(text[at:], quote=False)


def _url(address: str) -> str:
    # Only a scheme at the start counts: an address may have another one in its query.
    if SCHEME.match(address):
        return address
    return f"http://{address}" if STARTS_LIKE_WEB.match(address) else f"mailto:{address}"


def _trimmed(address: str) -> str:
    """Return an address without the punctuation of the sentence around it."""
    if words := WORDS_AFTER.search(address):
        address = address[: words.start()]
    surplus = {closer: address.count(closer) - address.count(opener) for closer, opener in CLOSERS.items()}
    end = len(address)
    while end:
        last = address[end - 1]
        if surplus.get(last, 0) > 0:
            surplus[last] -= 1
            end -= 1
        elif last == ";" and (entity := ENTITY.search(address, max(0, end - 34), end)):
            end = entity.start()
        elif last in SENTENCE_ENDS:
            end -= 1
        else:
            break
    return address[:end]
