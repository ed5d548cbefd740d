"""Which folders the run's processes read data from, and on which file systems those lie: looks from outside.

Nothing here touches the file systems themselves, which may hang for minutes (a dead NFS server): the kernel's own
memory of open files is read, /proc/PID/fd, fdinfo and mountinfo (proc(5); `mnt_id` in fdinfo since Linux 3.15). Each
process tells its own mounts, so bind mounts and mount namespaces (containers) are as it sees them.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from tfgpu_tui.core.events import Event, ReadFiles
from tfgpu_tui.core.rows import ReadFolder
from tfgpu_tui.core.state import STEADY_STEPS, RunState
from tfgpu_tui.diagnose.finding import WARNING_SHARE

TURN_S = 0.25
OFTEN, SELDOM_S = 40, 10.0
"""After so many looks only one in so many seconds."""
FOLDERS, TOLD = 64, 8
MAX_PROCESSES, MAX_FILES = 32, 4096
"""Of a look: it must stay short."""
_NOT_DATA = re.compile(
    r"^(?!/)|^/(dev|proc|sys|run)/| \(deleted\)$|/(site|dist)-packages/|/lib/python\d|^/(usr|lib|lib64|opt/nvidia)/"
    r"|\.(py|pyc|so|log|json|yaml|toml|db|journal)(\.\d+)*$"
)
"""What programs keep open beside their data."""
_STREAMS = ("0", "1", "2")
_ESCAPE = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    """Where a file system is mounted."""

    point: str
    kind: str
    """`nfs4`, `fuse.sshfs`, `ext4`, …"""
    source: str
    """`server:/export`, `/dev/sda1`, …"""


class OpenFiles:
    """Counts in how many looks a folder's files were open for reading, while steps wait for input."""

    def __init__(
        self,
        state: RunState,
        record: Callable[[Event], object],
        pids: Callable[[], Iterable[int]],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`pids()` are the run's processes."""
        self._state, self._record, self._pids, self._now = state, record, pids, now
        self._looks = 0
        self._looked_at = 0.0
        self._seen: dict[str, tuple[int, Mount | None]] = {}

    def turn(self) -> None:
        """To be called about every TURN_S; where no step waits it costs nothing."""
        if self._looks >= OFTEN and self._now() - self._looked_at < SELDOM_S:
            return
        if self._waits():
            self.look()

    def look(self) -> None:
        """Looks once, and tells what was seen: the second time, the fourth, and so on."""
        self._looks, self._looked_at = self._looks + 1, self._now()
        folders: dict[str, Mount | None] = {}
        left = MAX_FILES
        for pid in sorted(self._pids())[:MAX_PROCESSES]:
            found, looked_at = read_by(pid, left)
            folders |= found
            left -= looked_at
        for folder, mount in folders.items():
            if folder in self._seen or len(self._seen) < FOLDERS:
                self._seen[folder] = self._seen.get(folder, (0, None))[0] + 1, mount
        often = self._looks & (self._looks - 1) == 0 or self._looks % OFTEN == 0
        if self._looks > 1 and often:
            self._record(ReadFiles(t=time.time(), src="host", looks=self._looks, folders=self._rows()))

    def _waits(self) -> bool:
        judged = self._state.together().judged
        wait = judged.shares()["input_wait"]
        trains = self._state.phase == "training" and judged.steps >= STEADY_STEPS
        return trains and wait is not None and wait >= WARNING_SHARE

    def _rows(self) -> list[ReadFolder]:
        most = sorted(self._seen.items(), key=lambda item: -item[1][0])[:TOLD]
        return [
            {
                "folder": folder,
                "looks": looks,
                "mount": mount.point if mount else None,
                "file_system": mount.kind if mount else None,
                "source": mount.source if mount else None,
            }
            for folder, (looks, mount) in most
        ]


def read_by(pid: int, most: int = MAX_FILES) -> tuple[dict[str, Mount | None], int]:
    """Folder -> its mount, of the files of data that a process has open for reading alone, and how many of its
    descriptors were looked at."""
    found: dict[str, int] = {}
    try:
        numbers = os.listdir(f"/proc/{pid}/fd")[:most]
    except OSError:
        return {}, 0  # it ended, or is not ours to look at
    for number in numbers:
        try:
            path = os.readlink(f"/proc/{pid}/fd/{number}")
            if number in _STREAMS or _NOT_DATA.search(path):
                continue
            with open(f"/proc/{pid}/fdinfo/{number}") as file:
                info = dict(line.split(":", 1) for line in file.read().splitlines() if ":" in line)
        except OSError:
            continue  # closed meanwhile
        flags = int(info.get("flags", "0"), 8)
        if flags & os.O_ACCMODE == os.O_RDONLY and not flags & (os.O_DIRECTORY | os.O_PATH):
            found.setdefault(os.path.dirname(path), int(info.get("mnt_id", "-1")))
    mounts = mounts_of(pid) if found else {}
    return {folder: mounts.get(mount) for folder, mount in found.items()}, len(numbers)


def mounts_of(pid: int) -> dict[int, Mount]:
    """The mounts that a process sees, by their number; empty where they can't be read."""
    try:
        with open(f"/proc/{pid}/mountinfo", errors="replace") as file:
            return parse_mounts(file.read())
    except OSError:
        return {}


def parse_mounts(text: str) -> dict[int, Mount]:
    """Lines of mountinfo: number, parent, device, root, mount point, options, …, `-`, file system, source, options."""
    found = {}
    for line in text.splitlines():
        head, _, tail = line.partition(" - ")
        fields, rest = head.split(), tail.split()
        if len(fields) >= 5 and len(rest) >= 2 and fields[0].isdigit():
            found[int(fields[0])] = Mount(_plain(fields[4]), rest[0], _plain(rest[1]))
    return found


def _plain(text: str) -> str:
    return _ESCAPE.sub(lambda octal: chr(int(octal[1], 8)), text)
