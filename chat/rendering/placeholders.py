"""Characters that preprocessing inserts and the writers replace or remove.

All are Unicode noncharacters, which no text may hold. The parser reads each as a letter.
"""

import re

FORMULA_START, FORMULA_END = "\ufdd0", "\ufdd1"  # around a formula's number
FURTHER_LINE = "\ufdd2"  # in place of each further line of a formula
LETTER_MARK = "\ufdd3"  # beside a run of stars, so that it may open and close emphasis

FORMULA_MARK = re.compile(f"{FORMULA_START}(\\d+){FORMULA_END}")
ANY = re.compile("[\ufdd0-\ufdd3]")
_WITHOUT_FORMULAS = re.compile(f"[{FURTHER_LINE}{LETTER_MARK}]")


def without_letters(text: str) -> str:
    """Return ``text`` without the placeholders of lines and letters."""
    return _WITHOUT_FORMULAS.sub("", text)


def for_formula(number: int) -> str:
    """Return the placeholder of the formula with this number."""
    return f"{FORMULA_START}{number}{FORMULA_END}"
