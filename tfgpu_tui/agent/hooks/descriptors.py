"""What the agent keeps open, in a process whose script may close any descriptor and open its own under the same number.

So no socket and no file object is kept: one that becomes garbage closes its number, whoever's that is by then. What is
kept is the number with its device and inode, and each use looks first whether they still belong together. The number is
a high one: the script's own are those of plain python, and a loop that closes 3 to 255 passes it by.

`_socket`, not `socket`: a script may have put other classes in there (gevent does).
"""

from __future__ import annotations

import _socket
import errno
import fcntl
import os
from collections.abc import Callable
from typing import Any, Optional, TypeVar

T = TypeVar("T")

_KIND = _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK
"""The flag also keeps `socket.setdefaulttimeout` of the script off."""
_FLAGS = _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL
"""Never waits; and a script may have given SIGPIPE its deadly default back."""
_TOP, _ROOM = 1024, 16
"""Just below the usual limit of open files: a table of descriptors is as large as its highest one, and copied by each
fork."""


class Taken(OSError):
    """The script closed our descriptor; what its number stands for now is the script's."""

    def __init__(self) -> None:
        super().__init__(errno.EBADF, "closed by the script")


class Held:
    """A descriptor of ours."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.identity = _identity(number)

    @property
    def is_ours(self) -> bool:
        """Whether the number still stands for what it stood for."""
        try:
            return _identity(self.number) == self.identity
        except OSError:
            return False

    def close(self) -> None:
        """Closes our descriptor, and never the script's."""
        if self.is_ours:
            os.close(self.number)


class Connection:
    """A connected Unix socket that never waits."""

    def __init__(self, path: str) -> None:
        """Raises OSError."""
        low = Held(_socket.socket(_socket.AF_UNIX, _KIND).detach())
        try:
            _on_socket(low, lambda sock: sock.connect(path))
        except OSError:
            low.close()
            raise
        self.held = _moved_up(low)

    def send(self, data: bytes) -> int:
        """So many bytes were taken. Raises OSError: Taken, or BlockingIOError where there is no room."""
        return _on_socket(self.held, lambda sock: int(sock.send(data, _FLAGS)))

    def receive(self) -> bytes:
        """What is there; empty at the end. Raises OSError: Taken, or BlockingIOError where there is nothing yet."""
        return _on_socket(self.held, lambda sock: bytes(sock.recv(65536, _FLAGS)))

    def close(self) -> None:
        self.held.close()


class OwnFile:
    """A file under /proc/self that is read again and again; a forked child opens its own."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._held: Optional[Held] = None
        os.register_at_fork(after_in_child=self._close)

    def read(self) -> bytes:
        """What it says now, the first 4096 bytes. Raises OSError."""
        if self._held is None or not self._held.is_ours:
            self._held = _moved_up(Held(os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)))
        return os.pread(self._held.number, 4096, 0)

    def _close(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None


def _on_socket(held: Held, call: Callable[[Any], T]) -> T:
    if not held.is_ours:
        raise Taken
    sock = _socket.socket(_socket.AF_UNIX, _KIND, 0, held.number)
    try:
        return call(sock)
    finally:
        sock.detach()


def _moved_up(low: Held) -> Held:
    """The same under a high number; as it is where there is none to be had. Raises Taken."""
    try:
        floor = max(3, min(os.sysconf("SC_OPEN_MAX"), _TOP) - _ROOM)
        high = Held(fcntl.fcntl(low.number, fcntl.F_DUPFD_CLOEXEC, floor))
    except OSError:
        return low
    if high.identity != low.identity:  # the script was quicker
        os.close(high.number)
        raise Taken
    low.close()
    return high


def _identity(number: int) -> tuple[int, int]:
    state = os.fstat(number)
    return state.st_dev, state.st_ino
