"""Where a line of the script lies, as a person who started the run would write it (pure)."""

from __future__ import annotations

import os
from collections.abc import Sequence

from tfgpu_tui.core import python_options
from tfgpu_tui.core.quick import dataclass

LIBRARIES = ("/site-packages/", "/dist-packages/")


@dataclass(frozen=True)
class Places:
    """The folders from which a run's files are named."""

    folders: tuple[str, ...] = ()
    """Absolute, without a slash at the end; the first that holds a file is the one."""

    def file(self, path: str | None) -> str:
        """`src/data.py`: a library's as it is imported; below the run's folder, or else the script's, as seen from
        there; any other as it is. `?` where it is not known."""
        if not path:
            return "?"
        for libraries in LIBRARIES:
            _, found, below = path.rpartition(libraries)
            if found:
                return below
        for folder in self.folders:
            if path.startswith(f"{folder}/"):
                return path[len(folder) + 1 :]
        return path

    def at(self, path: str | None, line: int | None) -> str:
        """`src/data.py:41`."""
        return f"{self.file(path)}:{'?' if line is None else line}"


def of_run(cwd: str | None, argv: Sequence[str]) -> Places:
    """Those of a run: the folder in which it was started, and that of its script."""
    runs = python_options.without_options(argv)
    script = os.path.dirname(os.path.join(cwd or "", runs[0])) if runs else ""
    folders = (os.path.normpath(folder).rstrip("/") for folder in (cwd or "", script) if os.path.isabs(folder))
    return Places(tuple(folder for folder in folders if folder))
