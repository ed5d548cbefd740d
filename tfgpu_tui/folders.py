"""Where a user's own files belong, by the XDG Base Directory Specification; and the files that are safe to read."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Mapping
from pathlib import Path


def of_user(variable: str, below_home: str, environ: Mapping[str, str] = os.environ) -> Path | None:
    """The folder that `variable` names, else the one below the home folder. A relative path counts as none, as the
    specification wants it. None without a home (HOME is not set, and the user is in no passwd file)."""
    chosen = environ.get(variable, "")
    if os.path.isabs(chosen):
        return Path(chosen)
    home = os.path.expanduser("~")
    return Path(home) / below_home if os.path.isabs(home) else None


def open_regular(path: Path) -> io.FileIO:
    """A file to read, unbuffered. A folder, a FIFO (which would wait for a writer for ever) and a device other than
    /dev/null are refused. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    status = os.fstat(fd)
    if stat.S_ISREG(status.st_mode) or os.path.samestat(status, os.stat(os.devnull)):
        return io.FileIO(fd)
    os.close(fd)
    kind = "this is a folder" if stat.S_ISDIR(status.st_mode) else "this is no regular file"
    raise OSError(22, kind, str(path))
