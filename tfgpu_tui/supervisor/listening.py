"""The run's listening socket and who is at its other end. Imports little: it is made before the script starts."""

from __future__ import annotations

import errno
import os
import socket
import struct
from pathlib import Path


def listen(path: Path) -> socket.socket:
    """A listening socket of mode 0600; connections wait in it until `serve` runs. Raises OSError.

    It gets its name once it listens: whoever sees it there can connect."""
    if path.exists():
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), str(path))
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    unnamed = path.with_name(f"{os.urandom(6).hex()}.new")  # that nobody can have taken; `bind` takes no other
    try:
        listener.bind(str(unnamed))
        try:
            unnamed.chmod(0o600)
            listener.listen(128)
            unnamed.rename(path)
        except BaseException:
            unnamed.unlink(missing_ok=True)
            raise
    except BaseException:
        listener.close()
        raise
    return listener


def peer_uid(connection: socket.socket) -> int:
    """The user at the other end (SO_PEERCRED, unix(7))."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])
