"""Tables of docs/settings.md, made of the fields of Environment: ``python -m tools.settings_docs``."""

import re

from pydantic.fields import FieldInfo

from config.environment import Environment
from tools.structure import ROOT

PAGE = ROOT / "docs" / "settings.md"
HEAD = "| variable | default | meaning and reason |\n|---|---|---|\n"
# The first variable of each section.
SECTIONS = {
    "HOST": "Server",
    "DATABASE_URL": "Database and Redis",
    "EMAIL_HOST": "E-mail",
    "GOOGLE_API_KEY": "The agent",
    "LIMITS": "Limits",
    "HEARTBEAT_SECONDS": "Timers",
}


def tables() -> dict[str, str]:
    """Return the table of each section, by its heading."""
    found: dict[str, str] = {}
    heading = ""
    for name, field in Environment.model_fields.items():
        heading = SECTIONS.get(name, heading)
        meaning = " ".join((field.description or "").split())
        found[heading] = found.get(heading, HEAD) + f"| `{name}` | {shown_default(field)} | {meaning} |\n"
    return found


def shown_default(field: FieldInfo) -> str:
    """Return the text in the type of the field, else its default as it is written in the environment."""
    for text in field.metadata:
        if isinstance(text, str):
            return text
    if isinstance(field.default, bool):
        return "`on`" if field.default else "`off`"
    return "none" if field.default in ("", None, []) else f"`{field.default}`"


def with_tables(page: str) -> str:
    """Return the page with each table of variables replaced by the one from the fields."""
    for heading, table in tables().items():
        old = re.search(rf"(?<=^## {heading}\n)[^|#]*((?:\|.*\n)+)", page, flags=re.MULTILINE)
        assert old, heading
        page = page.replace(old[1], table)
    return page


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text()))
