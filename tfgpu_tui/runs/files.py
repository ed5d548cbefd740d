"""Files and folders that somebody else may have made, or may have put something else in the place of.

What is read may be a FIFO, a device or a link to one; what is written may lie where others write, too. On the way to
the script's first line: it imports next to nothing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def open_regular(path: str | os.PathLike[str]) -> int:
    """A descriptor to read an ordinary file, or /dev/null; a link may lead to it. Raises OSError, also for everything
    else: a FIFO would block, a device may never end, and opening some of them does something."""
    _refuse_others(os.stat(path), path)
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        _refuse_others(os.fstat(fd), path)  # the one that was opened
    except OSError:
        os.close(fd)
        raise
    return fd


def _refuse_others(status: os.stat_result, path: str | os.PathLike[str]) -> None:
    if stat.S_ISREG(status.st_mode) or os.path.samestat(status, os.stat(os.devnull)):
        return
    kind = "it is a folder" if stat.S_ISDIR(status.st_mode) else "it is no ordinary file"
    raise OSError(errno.EINVAL, kind, os.fspath(path))


def read_bounded(path: str | os.PathLike[str], limit: int) -> bytes:
    """An ordinary file of at most `limit` bytes. Raises OSError."""
    with open(open_regular(path), "rb", buffering=0) as file:
        data = file.read(limit + 1)
    if data is None or len(data) > limit:
        raise OSError(errno.EFBIG, f"it is larger than {limit} bytes", os.fspath(path))
    return data


def new_beside(path: Path) -> tuple[int, Path]:
    """A new, empty file of mode 0600 in the same folder, under a name that nobody could foresee, open for writing: to
    be renamed to `path`. Raises OSError."""
    temporary = path.with_name(f".{path.name[:100]}.{os.urandom(6).hex()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(temporary, flags, 0o600), temporary


def replace(path: Path, data: bytes) -> None:
    """Replaces a file in one step, so that a reader never sees half of it. Raises OSError, with nothing left."""
    fd, temporary = new_beside(path)
    try:
        with open(fd, "wb") as file:
            file.write(data)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def make_private(folder: Path) -> None:
    """Makes a folder, and those above it that are missing, each for this user alone. Raises OSError."""
    missing = []
    while not os.path.lexists(folder):
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)


def close_to_others(folder: Path) -> None:
    """Takes the right to write from everybody but its owner, where that is this user."""
    with contextlib.suppress(OSError):
        status = folder.stat()
        if status.st_uid == os.getuid() and status.st_mode & _OTHERS_WRITE:
            folder.chmod(stat.S_IMODE(status.st_mode) & ~_OTHERS_WRITE)


def distrust(folder: Path) -> str | None:
    """Why what lies in a folder may be another user's doing, in words; None where it is a real folder of this user
    that nobody else can write to. Raises OSError where it can't be looked at."""
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        return "it is no folder but a link, or a file"
    if status.st_uid != os.getuid():
        return "it belongs to another user"
    return "others can write to it" if status.st_mode & _OTHERS_WRITE else None


def is_own_file(path: Path) -> bool:
    """Whether it is an ordinary file (no link) of this user that nobody else can write to."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & _OTHERS_WRITE
