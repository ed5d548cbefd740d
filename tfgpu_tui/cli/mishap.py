"""The outer net of the command line: a mistake of the tool's own as one sentence, with the place of its traceback."""

from __future__ import annotations

import os
import shlex
import sys
import time
import traceback
from pathlib import Path

import tfgpu_tui
from tfgpu_tui.runs import rundir

STATUS = 70
"""EX_SOFTWARE of sysexits.h: neither the user's mistake (2) nor the script's status."""
MOST_BYTES = 1 << 20


def sentence(error: BaseException) -> str:
    """What went wrong, and where all of it is written down; the file is made here."""
    try:
        place = f"; all of it is in {_written(error)}"
    except (OSError, rundir.StateDirError):
        place = ""
    return f"{_words(error)} (a mistake of the tool's own{place})"


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error!s:.300}" if str(error) else type(error).__name__


def _written(error: BaseException) -> Path:
    """The file under the state folder, or where that can't be written a new one under /tmp. Raises OSError."""
    command = shlex.join(sys.argv)
    when = time.strftime("%Y-%m-%d %H:%M:%S")
    head = f"--- {when}, tfgpu-tui {tfgpu_tui.__version__}, Python {sys.version.split()[0]}: {command}\n"
    text = (head + "".join(traceback.format_exception(error))).encode(errors="backslashreplace")
    try:
        path = rundir.state_dir() / "errors.log"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
        if os.fstat(fd).st_size > MOST_BYTES:
            os.ftruncate(fd, 0)
    except (OSError, rundir.StateDirError):
        import tempfile

        fd, name = tempfile.mkstemp(prefix="tfgpu-tui-", suffix=".log")
        path = Path(name)
    with open(fd, "wb") as log:
        log.write(text)
    return path
