"""The nginx that stands before a server in tests."""

import shutil

HINT = "There is no nginx. On Debian: apt install nginx-light."


def nginx() -> str | None:
    """Return its path. Debian puts it where only root's PATH leads."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
