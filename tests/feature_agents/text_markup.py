"""Answers with Markdown, and with HTML that must stay text."""

from _scripted import scripted

root_agent = scripted(
    "# Title\n\n- **bold** and `code`\n- 2 < 3 & <b>tag</b>\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
)
