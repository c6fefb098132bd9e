"""Text for terminals: control characters become visible ones, so that none acts as a command.

Escape sequences of a model, a tool or a title could move the cursor, rename the window, or on some terminals
type. The database keeps them unchanged.
"""

_VISIBLE = (
    # Unicode's control pictures (ESC is shown as ␛); tab and line feed are text
    {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"}
    | {0x7F: 0x2421}
    # C1 controls: one-character forms of escape sequences
    | dict.fromkeys(range(0x80, 0xA0), 0xFFFD)
    # controls of direction, which make a line read differently from its characters
    | dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)], 0xFFFD)
)


def printable(text: str) -> str:
    """Return ``text`` with visible control characters, and with CRLF as line feeds."""
    return text.replace("\r\n", "\n").translate(_VISIBLE)


def on_one_line(text: str, limit: int) -> str:
    """Return ``text`` as one printable line of at most ``limit`` characters."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"
