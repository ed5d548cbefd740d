"""Follows the output.log that the keeper writes: how much there is, and what is new; takes the keeper's place where it
is gone."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from tfgpu_tui.keeper.output import OutputLog
from tfgpu_tui.supervisor.kept import KeptScript

READ_BYTES = 1 << 18
"""At most so much is read at a look: what a script prints faster than that is not looked at."""


class Output:
    """The output of a script in a terminal of its own."""

    def __init__(self, kept: KeptScript, path: Path, on_text: Callable[[bytes], None] | None = None) -> None:
        """`on_text` gets the bytes that are new in output.log, from its end at this moment on."""
        self._kept = kept
        self._path = path
        self._on_text = on_text
        self._own: OutputLog | None = None
        self._read_to = self.size_bytes if kept.told.lost_supervisor else 0
        self.over = asyncio.Event()
        """Everything that the script said is in the file."""
        self.look()

    @property
    def size_bytes(self) -> int:
        """Bytes in output.log now; 0 where there is none."""
        try:
            return os.stat(self._path).st_size
        except OSError:
            return 0

    @property
    def capped(self) -> bool:
        """Whether output had to be left out."""
        return self._kept.told.capped or (self._own is not None and self._own.capped)

    @property
    def error(self) -> str | None:
        """Why the disk refused it, when it did."""
        return self._kept.told.output_error or (self._own.error if self._own is not None else None)

    def look(self) -> None:
        """Hands on what is new in the file."""
        if self._kept.told.drained:
            self.over.set()
        if self._on_text is None:
            return
        try:
            with self._path.open("rb") as file:
                file.seek(self._read_to)
                data = file.read(READ_BYTES)
                self._read_to = file.seek(0, os.SEEK_END)
        except OSError:
            return
        if data:
            self._on_text(data)

    def take_over(self) -> None:
        """The keeper is gone: from now on the terminal is drained here."""
        terminal = self._kept.terminal
        if terminal is None or self._own is not None or self._kept.told.drained:
            return
        self._own = OutputLog(terminal, self._path)
        asyncio.get_running_loop().add_reader(terminal, self._drain, terminal, self._own)

    def _drain(self, terminal: int, own: OutputLog) -> None:
        if not own.drain():
            asyncio.get_running_loop().remove_reader(terminal)
            self.over.set()

    def close(self) -> None:
        """The run is over."""
        if self._own is not None and self._kept.terminal is not None:
            asyncio.get_running_loop().remove_reader(self._kept.terminal)
            self._own.close()
