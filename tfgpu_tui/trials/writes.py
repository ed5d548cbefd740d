"""Which files of its own folder a script writes: a look before it runs, and one after."""

from __future__ import annotations

import os
import time
from pathlib import Path

MOST_ENTRIES = 50_000
MOST_S = 5.0
PASSED_OVER = frozenset({"__pycache__", ".git", "node_modules", ".venv", "venv", "site-packages"})

Look = dict[str, tuple[int, int]]
"""Path -> (time of the last change in ns, bytes)."""


class TooMany(Exception):
    """The folder holds more than can be looked at; the text says which."""


def look(folder: str, not_in: Path) -> Look:
    """All files below a folder, but those `not_in` that one, and those of versions, environments and caches. Raises
    TooMany."""
    found: Look = {}
    end = time.monotonic() + MOST_S
    for parent, folders, names in os.walk(folder):
        folders[:] = [f for f in folders if f not in PASSED_OVER and Path(parent, f) != not_in]
        for name in names:
            path = os.path.join(parent, name)
            try:
                status = os.stat(path, follow_symlinks=False)
            except OSError:
                continue
            found[path] = (status.st_mtime_ns, status.st_size)
        if len(found) > MOST_ENTRIES or time.monotonic() > end:
            raise TooMany(f"{folder} holds too many files to look at")
    return found


def changed(before: Look, after: Look) -> list[str]:
    """Files that are new or were changed, in order."""
    return sorted(path for path, state in after.items() if before.get(path) != state)
