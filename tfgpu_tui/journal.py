"""The journal of a run: whole lines appended by the supervisor, tailed by every reader.

The writer's promise (whole lines, in order) and the reader's (a short last line is the end of the file, not an error)
stand side by side in here. A journal that has grown long is rolled: `journal.jsonl` becomes part 1, 2, … (compressed as
`journal.0001.jsonl.gz`), and a new `journal.jsonl` goes on; a reader reads the parts in their order and then the file
that still grows, and follows it when it is rolled under its eyes.
"""

from __future__ import annotations

import os
import re
import zlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, cast

from tfgpu_tui import folders

if TYPE_CHECKING:
    from tfgpu_tui.events import Event

# The classes of all events take 15 ms to make: they are imported where they are used, after the script was started.

_READ_BYTES = 1 << 20


def part_path(journal: Path, number: int, ending: str = ".jsonl.gz") -> Path:
    """Where a rolled part lies; `.jsonl` while it is not compressed yet."""
    return journal.with_name(f"{journal.stem}.{number:04d}{ending}")


def parts(journal: Path) -> dict[int, Path]:
    """The rolled parts that are there, by number, in order."""
    pattern = re.compile(re.escape(journal.stem) + r"\.(\d{4,9})\.jsonl(?:\.gz)?")
    found: dict[int, Path] = {}
    try:
        names = sorted(os.listdir(journal.parent))
    except OSError:
        return found
    for name in names:  # `.jsonl` comes before `.jsonl.gz`: where both are there, the compressed one is whole
        if match := pattern.fullmatch(name):
            found[int(match.group(1))] = journal.with_name(name)
    return dict(sorted(found.items()))


class JournalWriter:
    """Appends events as whole lines; never raises for a full or broken disk, but counts what it had to leave out.

    The training must outlive its monitor's disk, so a failed write is kept as a number (`lost`) that the supervisor
    reports once writing works again. No fsync: a power cut may cost the last second, never the training's time.
    """

    def __init__(self, path: Path) -> None:
        """Raises OSError where the file can't be made."""
        self._path = path
        self._fd = self._open()
        self.size_bytes = os.fstat(self._fd).st_size
        """Of the file that grows now."""
        self._torn = _ends_within_a_line(path)
        self.lost = 0
        """Events that could not be written so far."""

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    @property
    def deleted(self) -> bool:
        """Whether the file that is written to is no longer at its place."""
        try:
            return os.stat(self._path).st_ino != os.fstat(self._fd).st_ino
        except FileNotFoundError:
            return True
        except OSError:
            return False

    def roll(self, part: Path | None) -> None:
        """Goes on in a new file; what there is becomes `part` (None: it was deleted). Raises OSError, and then goes on
        where it was."""
        if part is not None:
            os.rename(self._path, part)
        try:
            new = self._open()
        except OSError:
            if part is not None:
                os.rename(part, self._path)
            raise
        os.close(self._fd)
        self._fd, self._torn, self.size_bytes = new, False, os.fstat(new).st_size

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
        self.size_bytes += written
        self._torn = written < len(line)
        self.lost += self._torn
        return not self._torn

    def close(self) -> None:
        os.close(self._fd)


def _ends_within_a_line(path: Path) -> bool:
    """As after a writer that was killed, or a disk that was full."""
    if not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


class JournalReader:
    """Tails a journal that may still grow, or not exist yet; rolled parts first."""

    def __init__(self, path: Path, first: int = 1) -> None:
        """`first` is the number of the part to begin with."""
        self._path = path
        self.number = first
        """Of the part that is read."""
        self._file: IO[bytes] | None = None
        self._grows = False
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
        """Takes in the next part of the journal; False at its end."""
        while self._file is not None or self._open_next():
            assert self._file is not None
            # Asked before the read: what is written between a read that finds nothing and the roll must not be missed.
            rolled = not self._grows or self._was_rolled()
            data = self._next_bytes()
            if data:
                *lines, self._tail = (self._tail + data).split(b"\n")
                self._lines.extend(line for line in lines if line)
                return True
            if not rolled:
                return False
            self.close()
            self._tail = b""
            self.number += 1
        return False

    def _next_bytes(self) -> bytes:
        """b"" at the end of a file, and where the rest of a compressed part is broken."""
        assert self._file is not None
        if self._grows:
            return self._file.read(_READ_BYTES)
        try:
            return self._file.read(_READ_BYTES)
        except (EOFError, zlib.error, OSError):
            self.skipped += 1
            return b""

    def _open_next(self) -> bool:
        while True:
            later = {number: path for number, path in parts(self._path).items() if number >= self.number}
            try:
                if later:
                    self.number, path = next(iter(later.items()))
                    self._file = _open_part(path)
                    self._grows = False
                    return True
                self._file = folders.open_regular(self._path)
                self._grows = True
            except FileNotFoundError:
                if later:
                    continue  # it was compressed between the look and the opening
                return False
            if max(parts(self._path), default=0) < self.number:
                return True
            self.close()  # it was rolled just now: the part comes first

    def _was_rolled(self) -> bool:
        assert self._file is not None
        try:
            return os.stat(self._path).st_ino != os.fstat(self._file.fileno()).st_ino
        except OSError:
            return False

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

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


def _open_part(path: Path) -> IO[bytes]:
    if path.suffix != ".gz":
        return path.open("rb", buffering=0)
    import gzip  # only long runs have one

    return cast("IO[bytes]", gzip.open(path, "rb"))


def last_event(journal: Path, tail_bytes: int = 1 << 16) -> Event | None:
    """The last whole event of a journal, found from its end."""
    from tfgpu_tui import events

    try:
        with folders.open_regular(journal) as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - tail_bytes))
            lines = file.read().split(b"\n")[:-1]
    except OSError:
        return None
    return next((event for line in reversed(lines) if (event := events.decode(line)) is not None), None)
