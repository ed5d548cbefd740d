"""The script's terminal output into output.log: always drained, whoever watches; capped; never the script's problem."""

from __future__ import annotations

import os
from pathlib import Path

CAP_BYTES = 64 << 20
_READ_BYTES = 1 << 16


class OutputLog:
    """Copies a PTY's master side to a file. After the cap, or when the disk fails, it reads on and drops."""

    def __init__(self, terminal: int, path: Path, cap_bytes: int = CAP_BYTES) -> None:
        self._terminal = terminal
        self._cap_bytes = cap_bytes
        self.size_bytes = 0
        """Bytes that lie in the file."""
        self.capped = False
        """True once anything was dropped."""
        self.error: str | None = None
        """Why the disk refused, when it did."""
        self._fd: int | None = None
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            self.error = os.strerror(error.errno or 0)

    def drain(self) -> bool:
        """Takes what the terminal holds right now, one read's worth; False once no process has it open any more."""
        try:
            data = os.read(self._terminal, _READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:  # EIO: the last process closed the slave side (pty(7))
            return False
        if not data:
            return False
        self._write(data)
        return True

    def _write(self, data: bytes) -> None:
        room = max(0, self._cap_bytes - self.size_bytes) if self.error is None else 0
        if len(data) > room:
            self.capped = True
            data = data[:room]
        while data and self._fd is not None:
            try:
                written = os.write(self._fd, data)
            except OSError as error:
                self.error, self.capped = os.strerror(error.errno or 0), True
                return
            self.size_bytes += written
            data = data[written:]

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
