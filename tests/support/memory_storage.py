"""Storage in memory that overwrites, as object stores do. It has no paths."""

import os
from typing import Any

from django.core.files.storage import InMemoryStorage


class OverwritingMemoryStorage(InMemoryStorage):
    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        if self.exists(name):
            self.delete(name)
        return name

    def path(self, name: Any) -> str:
        raise NotImplementedError

    def _relative_path(self, name: str) -> str:
        return "." if name == self.base_location else os.path.normpath(name)
