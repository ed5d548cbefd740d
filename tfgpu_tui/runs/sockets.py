"""Where a run's socket lies: a short path in a folder that nobody else can enter, and its removal."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from pathlib import Path

MAX_SOCKET_PATH_BYTES = 107
"""sun_path holds 108 bytes with its final zero (unix(7))."""


class StateDirError(Exception):
    """The state or the runtime folder can't be used; the text is a whole sentence for a person."""


def socket_path() -> Path:
    """A new, short, unused path for a run's socket in a folder of mode 0700 that is ours. Raises StateDirError."""
    name = f"{os.urandom(6).hex()}.sock"
    candidates = []
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime):  # a relative one is invalid (XDG Base Directory Specification), and the script may chdir
        candidates.append(Path(runtime) / "tfgpu-tui")
    bases = [base for base in (os.environ.get("TMPDIR", ""), "/tmp") if os.path.isabs(base)]
    candidates += [Path(base) / f"tfgpu-tui-{os.getuid()}" for base in bases]
    for folder in candidates:
        if len(os.fsencode(folder / name)) <= MAX_SOCKET_PATH_BYTES and _private(folder):
            return folder / name
    import tempfile  # late: 3 ms on the way to the script's first line

    # Somebody else owns the name in /tmp: a folder of our own under a fresh name.
    try:
        return Path(tempfile.mkdtemp(prefix="tfgpu-tui-", dir="/tmp")) / name
    except OSError as error:
        raise StateDirError(
            f"no folder for the run's socket: {', '.join(map(str, candidates))} can't be used ({error.strerror}); "
            "set XDG_RUNTIME_DIR to a folder of yours"
        ) from error


def _could_be_ours(path: Path) -> bool:
    """Whether `socket_path` may have made this path: what a file says is removed or made nowhere else."""
    folder = path.parent.name
    named = re.fullmatch(r"[0-9a-f]{12}\.sock", path.name) and re.fullmatch(r"tfgpu-tui(-[A-Za-z0-9_]+)?", folder)
    return named is not None and path.is_absolute() and ".." not in path.parts


def same_or_new_socket_path(path: Path) -> Path:
    """The path of a socket that went away, where its folder can be had again: processes of the run that start later
    look for it there. Else a new one. Raises StateDirError."""
    if not _could_be_ours(path):
        return socket_path()
    with contextlib.suppress(OSError):
        if not path.parent.exists():
            path.parent.mkdir(mode=0o700)
    if _private(path.parent) and not path.exists():
        return path
    return socket_path()


def _private(folder: Path) -> bool:
    """Makes `folder` where it is missing; True where it is a real folder of ours that nobody else can enter."""
    try:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        status = folder.lstat()
        is_ours = status.st_uid == os.getuid() and (status.st_mode & 0o170000) == 0o040000
        if is_ours and status.st_mode & 0o077:
            folder.chmod(0o700)
        return is_ours and os.access(folder, os.W_OK | os.X_OK)
    except OSError:
        return False


def remove_socket(path: Path) -> None:
    """Removes a run's socket, and the folder that was made for it alone; what is gone already is no error. Nothing but
    a socket of this user in a folder for such is touched: the path stands in a file."""
    if not _could_be_ours(path):
        return
    with contextlib.suppress(OSError):
        folder = path.parent.lstat()
        if not stat.S_ISDIR(folder.st_mode) or folder.st_uid != os.getuid():
            return
        status = path.lstat()
        if stat.S_ISSOCK(status.st_mode) and status.st_uid == os.getuid():
            path.unlink()
    with contextlib.suppress(OSError):
        if path.parent.name != "tfgpu-tui" and path.parent.name != f"tfgpu-tui-{os.getuid()}":
            path.parent.rmdir()
