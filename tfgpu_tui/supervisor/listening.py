"""The run's listening socket and who is at its other end. Imports little: it is made before the script starts."""

from __future__ import annotations

import socket
import struct
from pathlib import Path


def listen(path: Path) -> socket.socket:
    """A listening socket of mode 0600; connections wait in it until `serve` runs. Raises OSError."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(128)
    except BaseException:
        listener.close()
        raise
    return listener


def peer_uid(connection: socket.socket) -> int:
    """The user at the other end (SO_PEERCRED, unix(7))."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])
