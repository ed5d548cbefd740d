"""How a run shows other hosts that it goes on: a file that its supervisor touches, and the clock by which that is read.

The clocks of two hosts differ; that of the server which both have the folder from is one. It stamps a file when it is
made or touched, so both stamps are its own: the run's, and that of a file made here and now.
"""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path

from tfgpu_tui.runs import files

NAME = "alive"
EVERY_S = 10.0
LATELY_S = 90.0
"""What was written so long ago at most goes on: an NFS client may show times that are a minute old (nfs(5), acregmax),
and three touches fit into the rest."""
_CLOCK_KEPT_S = 60.0


def touch(folder: Path) -> None:
    """Says that the run in this folder is looked after. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(folder / NAME, flags, 0o600)
    try:
        os.utime(fd)  # without a time: the file server takes its own
    finally:
        os.close(fd)


def silent_s(folder: Path, last_written: float) -> float:
    """Seconds since something was written, by the clock of the server that the folder lies on; where nothing can be
    made beside the folder, by this host's."""
    return max(0.0, time.time() + _ahead_s(folder.parent, int(time.monotonic() / _CLOCK_KEPT_S)) - last_written)


@functools.lru_cache(maxsize=8)
def _ahead_s(folder: Path, period: int) -> float:
    """By how much the server's clock is ahead of this host's; asked once a period."""
    try:
        before = time.time()
        fd, path = files.new_beside(folder / "clock")
    except OSError:
        return 0.0
    try:
        return os.fstat(fd).st_mtime - (before + time.time()) / 2
    finally:
        os.close(fd)
        path.unlink(missing_ok=True)
