"""Path of the Chromium that the browser tests drive."""

import os
import shutil

# The headless shell renders the same pages with a third of the CPU.
NAMES = ("chromium-headless-shell", "chromium")
HINT = "There is no Chromium. On Debian: apt install chromium-headless-shell. Or set CHROMIUM to its path."


def chromium() -> str | None:
    """Return the path that ``CHROMIUM`` names, or the first of NAMES that is installed."""
    configured = os.environ.get("CHROMIUM")
    paths = (shutil.which(name) for name in ([configured] if configured else NAMES))
    return next((path for path in paths if path), None)
