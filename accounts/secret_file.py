"""Files that hold a secret. Imports nothing of Django, so that settings can use it too."""

import os
import secrets
from pathlib import Path


def secret_from_file(path: Path, size: int) -> str:
    """Return the secret in ``path``; on first use, make it of ``size`` random bytes, with mode 0600."""
    if not path.exists():
        _create(path, secrets.token_urlsafe(size))
    return path.read_text().strip()


def _create(path: Path, content: str) -> None:
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(content)
        # os.link is atomic and fails if the file exists: two processes that start together read the same
        # secret, and never a part of it.
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        draft.unlink()
