"""The journal of a run: whole lines appended by the supervisor, tailed by every reader.

The writer's promise (whole lines, in order) and the reader's (a short last line is the end of the file, not an error)
stand side by side in here. A journal that has grown long is rolled: `journal.jsonl` becomes part 1, 2, … (compressed as
`journal.0001.jsonl.gz`), and a new `journal.jsonl` goes on; a reader reads the parts in their order and then the file
that still grows, and follows it when it is rolled under its eyes.

A run's last event must not be lost to a full disk, or the run would never have ended: the writer keeps a small file
(`journal.end`) full of empty lines, and overwrites them where the disk takes nothing more: the journal's very end.
"""

from __future__ import annotations

import contextlib
import os
import re
import zlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, cast

from tfgpu_tui.runs import files

if TYPE_CHECKING:
    from tfgpu_tui.core.events import Event

# The classes of all events take 15 ms to make: they are imported where they are used, after the script was started.

_READ_BYTES = 1 << 20
LONGEST_LINE = 4 << 20
"""Bytes. An agent's event has 1 MiB at most, and up to three times that when it is written: what is longer is none."""
LARGEST_PART = 1 << 30
"""Bytes of a compressed part, uncompressed: it was rolled at 8 MiB, where the disk let it."""
_RESERVE_BYTES = 4096
_TAIL_BYTES = 1 << 16


def part_path(journal: Path, number: int, ending: str = ".jsonl.gz") -> Path:
    """Where a rolled part lies; `.jsonl` while it is not compressed yet."""
    return journal.with_name(f"{journal.stem}.{number:04d}{ending}")


def end_path(journal: Path) -> Path:
    """Where the last events lie that a full disk did not take."""
    return journal.with_name(f"{journal.stem}.end")


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

    def __init__(self, path: Path, keep_back: bool = False) -> None:
        """`keep_back`: with room for the last events (`append_at_end`). Raises OSError where the file can't be made."""
        self._path = path
        self._fd = self._open()
        self._keeps_back = keep_back
        self._reserve = self._keep_back()
        self.size_bytes = os.fstat(self._fd).st_size
        """Of the file that grows now."""
        self._torn = _ends_within_a_line(path)
        self.lost = 0
        """Events that could not be written so far."""

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def _keep_back(self) -> int | None:
        """Room on the disk for the last events; None where there is none even now."""
        if not self._keeps_back:
            return None
        try:
            fd = os.open(end_path(self._path), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError:
            return None
        try:
            if os.fstat(fd).st_size < _RESERVE_BYTES:
                os.pwrite(fd, b"\n" * _RESERVE_BYTES, 0)
        except OSError:
            os.close(fd)
            return None
        return fd

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
        if part is None:
            self._close_reserve()
            self._reserve = self._keep_back()

    def append(self, event: Event) -> bool:
        """False where the event is lost. Raises ValueError on a number that JSON does not have (NaN, infinity)."""
        from tfgpu_tui.core import events

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

    def append_at_end(self, last: list[Event]) -> bool:
        """Writes the run's last events into the room that was kept back for them, when `append` could not. False where
        they are lost."""
        from tfgpu_tui.core import events

        data = b"".join(events.encode(event).encode() + b"\n" for event in last)
        if self._reserve is None or len(data) > _RESERVE_BYTES:
            return False
        try:
            return os.pwrite(self._reserve, data, 0) == len(data)
        except OSError:
            return False

    def close(self) -> None:
        """Room that was not needed is given back."""
        os.close(self._fd)
        if self._reserve is not None and os.pread(self._reserve, 1, 0) == b"\n":
            with contextlib.suppress(OSError):
                end_path(self._path).unlink()
        self._close_reserve()

    def _close_reserve(self) -> None:
        if self._reserve is not None:
            os.close(self._reserve)
            self._reserve = None


def _ends_within_a_line(path: Path) -> bool:
    """As after a writer that was killed, or a disk that was full."""
    try:
        with open(files.open_regular(path), "rb", buffering=0) as file:
            return bool(file.seek(0, os.SEEK_END)) and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n"
    except OSError:
        return False


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
        self._too_long = False
        """What is read belongs to a line that is longer than any event's."""
        self._left = 0
        """Bytes that are still read of a compressed part."""
        self._read_end = False
        self.skipped = 0
        """Whole lines that were no event of a type that this version knows."""

    def poll(self, limit: int | None = None) -> list[Event]:
        """Every new event, at most `limit`; [] when there is nothing new. A last line without its newline waits."""
        from tfgpu_tui.core import validate

        found: list[Event] = []
        while limit is None or len(found) < limit:
            if not self._lines and not self._read():
                break
            while self._lines and (limit is None or len(found) < limit):
                event = validate.read(self._lines.popleft())
                if event is None:
                    self.skipped += 1
                else:
                    found.append(event)
        return found

    def next_lines(self) -> list[bytes]:
        """The next whole lines as they stand in the files, all of the part `number`; [] where there is nothing new."""
        while self._lines or self._read():
            found = list(self._lines)
            self._lines.clear()
            if found:  # what was read may have been the beginning of a line
                return found
        return []

    def lines(self) -> Iterator[bytes]:
        """Every whole line up to the present end, as it stands in the files, whatever it is."""
        while found := self.next_lines():
            yield from found

    def _read(self) -> bool:
        """Takes in the next part of the journal; False at its end."""
        while self._file is not None or self._open_next():
            assert self._file is not None
            # Asked before the read: what is written between a read that finds nothing and the roll must not be missed.
            rolled = not self._grows or self._was_rolled()
            data = self._next_bytes()
            if data:
                self._take(data)
                return True
            if not rolled:
                return self._take_end()
            self.close()
            self._tail, self._too_long = b"", False
            self.number += 1
        return self._take_end()

    def _take(self, data: bytes) -> None:
        """Cuts what was read into lines; the last one may go on."""
        *lines, tail = data.split(b"\n")
        if lines:
            first, self._too_long = b"" if self._too_long else self._tail + lines[0], False
            self._lines.extend(line for line in (first, *lines[1:]) if line)
            self._tail = b""
        if not self._too_long:
            self._tail += tail
        if len(self._tail) > LONGEST_LINE:
            self._tail, self._too_long = b"", True
            self.skipped += 1

    def _take_end(self) -> bool:
        """The last events of a run whose disk was full, once they are there."""
        if self._read_end or not (end := end_lines(self._path)):
            return False
        self._lines.extend(end)
        self._read_end = True
        return True

    def _next_bytes(self) -> bytes:
        """b"" at the end of a file, and where the rest of a compressed part is broken, or endless."""
        assert self._file is not None
        if self._grows:
            return self._file.read(_READ_BYTES)
        try:
            data = self._file.read(min(_READ_BYTES, self._left)) if self._left else b""
        except (EOFError, zlib.error, OSError):
            self.skipped += 1
            return b""
        self._left -= len(data)
        return data

    def _open_next(self) -> bool:
        while True:
            later = {number: path for number, path in parts(self._path).items() if number >= self.number}
            try:
                if later:
                    self.number, path = next(iter(later.items()))
                    self._file, self._left = _open_part(path), LARGEST_PART
                    self._grows = False
                    return True
                self._file = open(files.open_regular(self._path), "rb", buffering=0)  # noqa: SIM115 (tailed)
                self._grows = True
            except FileNotFoundError:
                if later:
                    continue  # it was compressed between the look and the opening
                return False
            except OSError:
                if not later:
                    raise
                self.number += 1  # no part but something of its name
                self.skipped += 1
                continue
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
    file = open(files.open_regular(path), "rb", buffering=0)  # noqa: SIM115 (tailed)
    if path.suffix != ".gz":
        return file
    import gzip  # only long runs have one

    unpacked = gzip.GzipFile(fileobj=file, mode="rb")
    unpacked.myfileobj = file  # closed with it
    return cast("IO[bytes]", unpacked)


def end_lines(journal: Path) -> list[bytes]:
    """The last events that a full disk did not take; [] where there are none (yet)."""
    try:
        data = files.read_bounded(end_path(journal), 2 * _RESERVE_BYTES)
    except OSError:
        return []
    from tfgpu_tui.core import events, validate

    lines = [line for line in data.split(b"\n")[:-1] if line]
    return lines if lines and isinstance(validate.read(lines[-1]), events.RunEnded) else []


def last_event(journal: Path) -> Event | None:
    """The last whole event of a journal, found from its end."""
    last = _last_of(end_lines(journal)) or _last_of(_tail_of(journal))
    if last is None and (number := max(parts(journal), default=0)):
        # It was rolled after that event, and nothing came since.
        with contextlib.suppress(OSError), JournalReader(journal, number) as reader:
            last = next(iter(deque(reader, maxlen=1)), None)
    return last


def _last_of(lines: list[bytes]) -> Event | None:
    from tfgpu_tui.core import validate

    return next((event for line in reversed(lines) if (event := validate.read(line)) is not None), None)


def _tail_of(journal: Path) -> list[bytes]:
    try:
        with open(files.open_regular(journal), "rb", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            return os.pread(file.fileno(), _TAIL_BYTES, max(0, size - _TAIL_BYTES)).split(b"\n")[:-1]
    except OSError:
        return []
