"""Writes a report where its reader asked for it: a file, a link to one, a pipe, a descriptor, a device."""

from __future__ import annotations

import errno
import json
import os
import re
import select
import stat
import time
from pathlib import Path
from typing import Any

PATIENCE_S = 2.0
"""For somebody to read from a pipe; then the run ends without."""
_DESCRIPTOR = re.compile(r"/dev/(?:fd/(\d+)|std(in|out|err))|/proc/self/fd/(\d+)")
_ATOM_BYTES = 4096
"""A pipe that can be written to takes so much without waiting (PIPE_BUF, pipe(7))."""


def write_report(report: dict[str, Any], path: Path) -> None:
    """Writes a report: in one step where the path is an ordinary file, or will be. Raises OSError."""
    data = (json.dumps(report, indent=1, allow_nan=False) + "\n").encode()
    descriptor = descriptor_of(str(path))
    if descriptor is not None:
        _write(os.dup(descriptor), data)  # opened anew by its name, a file would be written from its beginning
        return
    try:
        there = os.stat(path)
    except FileNotFoundError:
        there = None
    if there is not None and not stat.S_ISREG(there.st_mode):
        _write(_open_to_write(path), data)
    else:
        _put(Path(os.path.realpath(path)), there, data)


def descriptor_of(path: str) -> int | None:
    """The number of the descriptor that a path like /dev/stdout or /dev/fd/3 is another name for."""
    found = _DESCRIPTOR.fullmatch(path)
    if found is None:
        return None
    return ("in", "out", "err").index(found[2]) if found[2] else int(found[1] or found[3])


def _put(file: Path, there: os.stat_result | None, data: bytes) -> None:
    """Beside it first, so that a reader has the old one or the new one. Where the file's owner or its other names would
    be lost that way, or the folder takes no new file, it is written as it stands."""
    if there is None or (there.st_nlink == 1 and there.st_uid == os.geteuid()):
        try:
            _replace(file, there, data)
            return
        except OSError as error:  # EBUSY: mounted by itself, as into a container
            if there is None or error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY):
                raise
    _write(os.open(file, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC), data)


def _replace(file: Path, there: os.stat_result | None, data: bytes) -> None:
    unnamed = file.with_name(f".tfgpu-tui-{os.urandom(8).hex()}")  # not to be guessed, and nobody's link is followed
    fd = os.open(unnamed, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        if there is not None:
            os.fchmod(fd, stat.S_IMODE(there.st_mode))
        _write(fd, data)
        unnamed.replace(file)
    except BaseException:
        unnamed.unlink(missing_ok=True)
        raise


def _open_to_write(path: Path) -> int:
    """A pipe, a terminal, a device. Raises OSError, also where nobody opens a pipe's other end in time."""
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            return os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno != errno.ENXIO or not path.is_fifo():
                raise
            if time.monotonic() >= end:
                raise OSError(errno.ENXIO, "nobody reads from this pipe") from None
            time.sleep(0.05)


def _write(fd: int, data: bytes) -> None:
    """All of it, then closes; a reader may let so much time pass between two parts, and no more."""
    try:
        ready = select.poll()
        ready.register(fd, select.POLLOUT)
        while data:
            if not ready.poll(PATIENCE_S * 1000):
                raise OSError(errno.EAGAIN, "nobody reads on from it")
            try:
                data = data[os.write(fd, data[:_ATOM_BYTES]) :]
            except BlockingIOError:
                time.sleep(0.01)  # another writer was there first
    finally:
        os.close(fd)
