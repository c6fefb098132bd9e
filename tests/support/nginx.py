"""Path of the nginx that tests run in front of a server."""

import shutil

HINT = "There is no nginx. On Debian: apt install nginx-light."


def nginx() -> str | None:
    """Return the path of nginx, if it is installed."""
    # On Debian it is in /usr/sbin, which is only in root's PATH.
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
