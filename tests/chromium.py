"""The Chromium that browser tests drive."""

import os
import shutil

# The shell is Chromium without the window that nobody sees here: the same pages in a third of the CPU.
NAMES = ("chromium-headless-shell", "chromium")
HINT = (
    "There is no Chromium. On Debian: apt install chromium-headless-shell; or CHROMIUM names another place."
)


def chromium() -> str | None:
    """Its path: the one that ``CHROMIUM`` names, or the first that is here."""
    named = os.environ.get("CHROMIUM")
    found = (shutil.which(name) for name in ([named] if named else NAMES))
    return next((path for path in found if path), None)
