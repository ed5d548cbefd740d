"""Allocator dumps in the script's output, as events. The output itself is only read, never touched."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from tfgpu_tui.core.events import OutOfMemory
from tfgpu_tui.core.oom import DumpReader
from tfgpu_tui.core.oom import OutOfMemory as Parsed

MOST = 100
"""Of a run; a script that catches the error and tries again may print one at each step."""


class MemoryDumps:
    """Tells each allocation that failed."""

    def __init__(self, record: Callable[[OutOfMemory], Any]) -> None:
        self._record = record
        self._reader = DumpReader()
        self._told = 0

    def feed(self, data: bytes) -> None:
        """The next piece of output."""
        self._tell(self._reader.feed(data))

    def end(self) -> None:
        """The output has ended: a process that died within its dump said no more."""
        self._tell(self._reader.end())

    def _tell(self, found: Iterable[Parsed]) -> None:
        for one in found:
            if self._told < MOST:
                self._told += 1
                self._record(OutOfMemory(t=time.time(), src="child", case=one.case, **asdict(one)))
