"""The script's terminal output into output.log: always drained, whoever watches; capped; never the script's problem."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from tfgpu_tui.runs import files

CAP_BYTES = 64 << 20
TAIL_BYTES = 64 << 10
"""Of what comes after the cap, so much of the end is kept, and written when the script ended: its traceback."""
RETRY_S = 1.0
"""After a disk refused: how long output is left out before it is tried again."""
_READ_BYTES = 1 << 16


class OutputLog:
    """Copies a PTY's master side to a file. After the cap, or while the disk fails, it reads on and leaves out."""

    def __init__(
        self, terminal: int, path: Path, cap_bytes: int = CAP_BYTES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._terminal = terminal
        self._path = path
        self._cap_bytes = cap_bytes
        self._clock = clock
        self._retry_at = 0.0
        self._missing = 0
        self._tail = bytearray()
        self.size_bytes = 0
        """Bytes that lie in the file."""
        self.capped = False
        """True once anything was left out."""
        self.error: str | None = None
        """Why the disk refused last, when it did."""
        self.took = False
        """Whether the last `drain` found anything."""
        self.at_end = False
        """No process has the terminal open any more."""
        self._fd: int | None = None
        self._open()

    def _open(self) -> None:
        try:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self.size_bytes = os.fstat(self._fd).st_size
        except OSError as error:
            self._failed(error)

    def drain(self) -> bool:
        """Takes what the terminal holds right now, one read's worth; False once no process has it open any more."""
        self.took = False
        try:
            data = os.read(self._terminal, _READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:  # EIO: the last process closed the slave side (pty(7))
            data = b""
        self.took, self.at_end = bool(data), not data
        if data:
            self._write(data)
        return bool(data)

    def _write(self, data: bytes) -> None:
        room = self._cap_bytes - self.size_bytes
        if room <= 0 or self._missing or self._fd is None:
            if room <= 0 or not self._works_again():
                self._leave_out(data)
                return
            room = self._cap_bytes - self.size_bytes
        kept = self._put(data[: max(room, 0)])
        if kept < len(data):
            self._leave_out(data[kept:])

    def _put(self, data: bytes) -> int:
        done = 0
        while done < len(data) and self._fd is not None:
            try:
                written = os.write(self._fd, data[done:] if done else data)
            except OSError as error:
                self._failed(error)
                break
            done += written
            self.size_bytes += written
        return done

    def _failed(self, error: OSError) -> None:
        self.error, self.capped = os.strerror(error.errno or 0), True
        self._retry_at = self._clock() + RETRY_S

    def _leave_out(self, data: bytes) -> None:
        self.capped = True
        self._missing += len(data)
        self._tail += data
        if len(self._tail) > 2 * TAIL_BYTES:
            del self._tail[:-TAIL_BYTES]

    def _works_again(self) -> bool:
        """Whether the disk takes what was held back; looked at once a second."""
        if self._clock() < self._retry_at:
            return False
        if self._fd is None:
            self._open()
        return self._catch_up()

    def _catch_up(self) -> bool:
        """Writes a line that says how much is missing, and the end of it; True where nothing is held back now."""
        if self._fd is None:
            return False
        del self._tail[:-TAIL_BYTES]
        left_out = self._missing - len(self._tail)
        text = f"\r\n[tfgpu-tui: {left_out} bytes of output were left out here]\r\n".encode() if left_out else b""
        if self._put(text) < len(text):
            return False
        written = self._put(bytes(self._tail))
        self._missing = len(self._tail) - written
        del self._tail[:written]
        return not self._missing

    def look_after_file(self) -> None:
        """Makes the file anew where it, or its folder, was deleted: what was in it is still there to be copied."""
        if self._fd is None:
            return
        try:
            there = os.stat(self._path).st_ino == os.fstat(self._fd).st_ino
        except FileNotFoundError:
            there = False
        except OSError:
            return
        if there:
            return
        try:
            files.make_private(self._path.parent)
            new = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError:
            return  # looked at again later
        at = 0
        try:
            while part := os.pread(self._fd, 1 << 20, at):
                at += os.write(new, part)
        except OSError as error:
            self._failed(error)
        os.close(self._fd)
        self._fd = new
        self.size_bytes = os.fstat(new).st_size

    def close(self) -> None:
        """The script's last words are written, above the cap, too."""
        if self._fd is None:
            return
        if self._missing:
            self._catch_up()
        os.close(self._fd)
        self._fd = None
