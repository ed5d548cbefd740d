"""TensorFlow's own messages in the script's output, as events. The output itself is only read, never touched."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from tfgpu_tui.core.diagnostics import Found, LineFinder
from tfgpu_tui.core.events import Diagnostic

FILE_READ_BYTES = 1 << 18
"""At most so much of a file is read at a look: what a script writes faster than that is not looked at."""
MOST_KINDS = 64
"""Of different messages in a run; one that names another tensor each time would fill the journal."""


class Messages:
    """Finds TensorFlow's messages in pieces of output, and tells each at its first time and as its count doubles."""

    def __init__(self, record: Callable[[Diagnostic], Any]) -> None:
        self._record = record
        self._lines = LineFinder()
        self._counts: dict[tuple[str, ...], int] = {}

    def feed(self, data: bytes) -> None:
        """The next piece of output."""
        for found in self._lines.feed(data):
            self._tell(found)

    def _tell(self, found: Found) -> None:
        key = (found.id, *found.values.values())
        if key not in self._counts and len(self._counts) >= MOST_KINDS:
            return
        count = self._counts[key] = self._counts.get(key, 0) + 1
        if count & (count - 1):  # told when it is a power of two
            return
        self._record(
            Diagnostic(
                t=time.time(),
                src="child",
                id=found.id,
                level=found.level,
                file=found.file,
                meaning=found.meaning,
                values=found.values,
                count=count,
            )
        )


class StderrFile:
    """What a headless script writes to stderr, where its caller sent that to a file: read through a descriptor of its
    own. A pipe or a terminal belongs to the caller alone."""

    def __init__(self, begin: int | None, descriptor: int = 2) -> None:
        """`begin` is where the script's first byte stands in the file; None where stderr is no file."""
        self._file: int | None = None
        self._at = begin or 0
        if begin is not None:
            try:
                self._file = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
            except OSError:  # not ours to read
                pass

    @property
    def readable(self) -> bool:
        """False where stderr is no file, or none that may be read."""
        return self._file is not None

    def read(self) -> bytes:
        """What is new, up to a limit; the rest of it is skipped."""
        if self._file is None:
            return b""
        data = os.pread(self._file, FILE_READ_BYTES, self._at)
        if data:
            self._at = max(self._at + len(data), os.fstat(self._file).st_size)
        return data

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
