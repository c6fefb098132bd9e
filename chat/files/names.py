"""Names of files, as members send them: shown, sent back in headers, and never used as a path."""

import unicodedata

NAME_MAX = 255  # characters, as most file systems have it
# Cc: controls. Cf: what is not visible, and U+202E, with which "cod.exe" reads as "exe.doc". Cs: half a
# character. Zl and Zp: line ends.
REMOVED = {"Cc", "Cf", "Cs", "Zl", "Zp"}
# Inside emoji and in scripts such as Persian, where words need it.
KEPT_INVISIBLE = {"\u200c", "\u200d"}


def clean_name(name: str) -> str:
    """Return the last part of a path, without characters that mislead; ``file`` if nothing is left.

    A name that is too long loses the end of its stem, and keeps its extension.
    """
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    kept = [each for each in last if each in KEPT_INVISIBLE or unicodedata.category(each) not in REMOVED]
    cleaned = "".join(kept).strip()
    if not cleaned.strip(". \u200c\u200d"):
        return "file"
    if len(cleaned) <= NAME_MAX:
        return cleaned
    stem, dot, extension = cleaned.rpartition(".")
    if not stem or len(extension) > 16:
        return cleaned[:NAME_MAX]
    return stem[: NAME_MAX - len(extension) - 1] + dot + extension
