"""The journal of a run: whole lines appended by the supervisor, tailed by every reader.

The writer's promise (whole lines, in order) and the reader's (a short last line is the end of the file, not an error)
stand side by side in here.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfgpu_tui.events import Event

# The classes of all events take 15 ms to make: they are imported where they are used, after the script was started.

_READ_BYTES = 1 << 20


class JournalWriter:
    """Appends events as whole lines; never raises for a full or broken disk, but counts what it had to leave out.

    The training must outlive its monitor's disk, so a failed write is kept as a number (`lost`) that the supervisor
    reports once writing works again. No fsync: a power cut may cost the last second, never the training's time.
    """

    def __init__(self, path: Path) -> None:
        """Raises OSError where the file can't be made."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(path, flags, 0o600)
        self._torn = False
        self.lost = 0
        """Events that could not be written so far."""

    def append(self, event: Event) -> bool:
        """False where the event is lost. Raises ValueError on a number that JSON does not have (NaN, infinity)."""
        from tfgpu_tui import events

        line = events.encode(event).encode() + b"\n"
        if self._torn:
            line = b"\n" + line  # ends the half line that a full disk left behind
        try:
            written = os.write(self._fd, line)
        except OSError:
            self.lost += 1
            return False
        self._torn = written < len(line)
        self.lost += self._torn
        return not self._torn

    def close(self) -> None:
        os.close(self._fd)


class JournalReader:
    """Tails a journal that may still grow, or not exist yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None
        self._lines: deque[bytes] = deque()
        self._tail = b""
        self.skipped = 0
        """Whole lines that were no event of a type that this version knows."""

    def poll(self, limit: int | None = None) -> list[Event]:
        """Every new event, at most `limit`; [] when there is nothing new. A last line without its newline waits."""
        from tfgpu_tui import events

        found: list[Event] = []
        while limit is None or len(found) < limit:
            if not self._lines and not self._read():
                break
            while self._lines and (limit is None or len(found) < limit):
                event = events.decode(self._lines.popleft())
                if event is None:
                    self.skipped += 1
                else:
                    found.append(event)
        return found

    def _read(self) -> bool:
        """Takes in the next part of the file; False at its end."""
        if self._fd is None:
            try:
                self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return False
        data = os.read(self._fd, _READ_BYTES)
        if not data:
            return False
        *lines, self._tail = (self._tail + data).split(b"\n")
        self._lines.extend(line for line in lines if line)
        return True

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> JournalReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Event]:
        """Every event up to the present end of the file."""
        while batch := self.poll(10_000):
            yield from batch


def last_event(journal: Path, tail_bytes: int = 1 << 16) -> Event | None:
    """The last whole event of a journal, found from its end."""
    from tfgpu_tui import events

    try:
        with journal.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - tail_bytes))
            lines = file.read().split(b"\n")[:-1]
    except OSError:
        return None
    return next((event for line in reversed(lines) if (event := events.decode(line)) is not None), None)
