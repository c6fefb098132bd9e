"""What may reach a terminal: text in which no character is a command.

A model, a tool or a title can hold escape sequences: they would move the cursor, rename the window
or type on some terminals. They are stored as they are, and shown as signs.
"""

# Control characters as their pictures (ESC is shown as ␛); the tab and the line feed are text. The
# second range, C1, is another spelling of escape sequences in eight bits. The last ones turn the
# direction of what follows, so that a line reads other than it is.
_SIGNS = (
    {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"}
    | {0x7F: 0x2421}
    | dict.fromkeys(range(0x80, 0xA0), 0xFFFD)
    | dict.fromkeys([0x202D, 0x202E], 0xFFFD)
)


def printable(text: str) -> str:
    """``text`` with a sign in place of each control character; line ends become line feeds."""
    return text.replace("\r\n", "\n").translate(_SIGNS)


def on_one_line(text: str, limit: int) -> str:
    """``text`` printable, on one line of at most ``limit`` characters."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"
