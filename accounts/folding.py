"""Folding of text, for comparisons that ignore case, accents and forms of letters in every script."""

import unicodedata

# Marks that are left out: accents of European scripts, points of Hebrew, Arabic and Syriac, variation
# selectors. Not the vowel signs of Indian and Southeast Asian scripts, nor the voicing marks of kana: these
# make other words.
_MARKS = (
    (0x0300, 0x036F), (0x0483, 0x0489), (0x0591, 0x05C7), (0x0610, 0x061A), (0x064B, 0x065F),
    (0x0670, 0x0670), (0x06D6, 0x06ED), (0x0711, 0x0711), (0x0730, 0x074A), (0x1AB0, 0x1AFF),
    (0x1DC0, 0x1DFF), (0x20D0, 0x20F0), (0x2DE0, 0x2DFF), (0xA66F, 0xA67D), (0xFE00, 0xFE0F),
    (0xFE20, 0xFE2F),
)  # fmt: skip
_TATWEEL = "\u0640"  # stretches an Arabic word
# Letters with a stroke, ligatures, and Persian letters, which Unicode does not decompose.
_LETTERS = {
    "ø": "o", "ł": "l", "đ": "d", "ð": "d", "ħ": "h", "ŧ": "t", "\u0131": "i", "æ": "ae", "œ": "oe",
    "þ": "th", "\u06cc": "\u064a", "\u0649": "\u064a", "\u06a9": "\u0643",
}  # fmt: skip


class _Table(dict[int, str]):
    """Table for ``str.translate`` that computes the folding of a character at its first use."""

    def __missing__(self, code: int) -> str:
        once = _without_marks(unicodedata.normalize("NFKD", chr(code))).casefold()
        letters = _without_marks(unicodedata.normalize("NFKD", once))
        self[code] = unicodedata.normalize("NFC", "".join(map(_plain, letters)))
        return self[code]


def _without_marks(text: str) -> str:
    return "".join(char for char in text if not _is_ignored(char))


def _is_ignored(char: str) -> bool:
    if char == _TATWEEL or unicodedata.category(char) == "Cf":
        return True
    return any(first <= ord(char) <= last for first, last in _MARKS)


def _plain(char: str) -> str:
    digit = unicodedata.decimal(char, None)
    return _LETTERS.get(char, char) if digit is None else str(digit)


_TABLE = _Table()


def fold(text: str) -> str:
    """Return the form that all spellings of ``text`` share: "cafe" for "Café" and "CAFE"."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", text).translate(_TABLE)
