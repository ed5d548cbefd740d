"""Which folders a process reads from, as the kernel tells it: real descriptors, real mounts, real namespaces."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.journals import start, state_of, windows
from tfgpu_tui.core import events as ev
from tfgpu_tui.core.state import RunState
from tfgpu_tui.supervisor import open_files
from tfgpu_tui.supervisor.open_files import Mount, OpenFiles

MOUNTS = r"""27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
41 27 0:55 / /mnt/my\040data rw,relatime shared:5 master:2 - nfs4 10.0.0.7:/export/my\040data rw,vers=4.2
42 27 0:56 / /mnt/c rw,noatime - 9p drvfs rw,aname=drvfs;path=C:\134,uid=1000
43 27 0:57 /sub /mnt/bound ro - fuse.sshfs me@host:/srv rw,user_id=1000
half a line
44 27 0:58 /
"""


def test_mounts_are_read_with_their_escapes() -> None:
    found = open_files.parse_mounts(MOUNTS)
    assert found == {
        27: Mount("/", "ext4", "/dev/vda"),
        41: Mount("/mnt/my data", "nfs4", "10.0.0.7:/export/my data"),
        42: Mount("/mnt/c", "9p", "drvfs"),
        43: Mount("/mnt/bound", "fuse.sshfs", "me@host:/srv"),
    }


def test_only_files_of_data_that_are_open_for_reading_count(tmp_path: Path) -> None:
    for folder in ("read", "written", "code", "both"):
        (tmp_path / folder).mkdir()
        for name in ("rows.bin", "module.py"):
            (tmp_path / folder / name).write_bytes(b"x")
    with (
        (tmp_path / "read" / "rows.bin").open("rb"),
        (tmp_path / "written" / "rows.bin").open("wb"),
        (tmp_path / "both" / "rows.bin").open("r+b"),
        (tmp_path / "code" / "module.py").open("rb"),
    ):
        listed = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            found, looked_at = open_files.read_by(os.getpid())
            few, of_few = open_files.read_by(os.getpid(), most=2)
        finally:
            os.close(listed)
    mine = {folder: mount for folder, mount in found.items() if folder.startswith(str(tmp_path))}
    assert list(mine) == [str(tmp_path / "read")]
    mount = mine[str(tmp_path / "read")]
    assert mount is not None and os.path.ismount(mount.point)
    assert os.stat(mount.point).st_dev == os.stat(tmp_path).st_dev
    assert looked_at > 2 == of_few and not set(few) & set(mine), "a look is bounded"


def test_a_process_that_is_gone_reads_nothing() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert open_files.read_by(ended.pid) == ({}, 0)
    assert open_files.mounts_of(ended.pid) == {}


def test_a_bind_mount_in_a_namespace_of_its_own_is_as_that_process_sees_it(tmp_path: Path) -> None:
    """As in a container: here the mount point is an empty folder on another file system."""
    point = tmp_path / "point"
    point.mkdir()
    hold = "import sys; f = open(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    commands = (
        f"mount -t tmpfs fast {point} && mkdir {point}/data {point}/bound && echo x > {point}/data/rows.csv && "
        f"mount --bind {point}/data {point}/bound && "
        f"exec {shlex.join([sys.executable, '-c', hold, f'{point}/bound/rows.csv'])}"
    )
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("mount namespaces need rights that this user has not")
    with subprocess.Popen(
        ["unshare", "-m", "sh", "-c", commands], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdin is not None and holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        found, _ = open_files.read_by(holder.pid)
        holder.stdin.close()
    assert found == {f"{point}/bound": Mount(f"{point}/bound", "tmpfs", "fast")}
    assert not (point / "bound").exists(), "nobody else sees that mount"


class Watch:
    """Open files of this process, with a clock of its own."""

    def __init__(self, state: RunState) -> None:
        self.told: list[ev.ReadFiles] = []
        self.now, self.asked = 0.0, 0
        self.files = OpenFiles(state, self._record, self._pids, lambda: self.now)

    def _record(self, event: ev.Event) -> None:
        assert isinstance(event, ev.ReadFiles)
        self.told.append(event)

    def _pids(self) -> list[int]:
        self.asked += 1
        return [os.getpid()]

    def turns(self, count: int) -> None:
        for _ in range(count):
            self.now += open_files.TURN_S
            self.files.turn()


def test_it_looks_only_while_steps_wait_and_ever_more_rarely(tmp_path: Path) -> None:
    waiting, busy = (state_of(start(), windows(20, wait=wait)) for wait in (0.5, 0.05))
    early = state_of(start(), windows(0))
    for healthy in (busy, early):
        quiet = Watch(healthy)
        quiet.turns(50)
        assert quiet.asked == 0
    data = tmp_path / "rows.bin"
    data.write_bytes(b"x")
    watch = Watch(waiting)
    with data.open("rb"):
        watch.turns(open_files.OFTEN)
        assert watch.asked == open_files.OFTEN
        watch.turns(200)
    assert watch.asked == open_files.OFTEN + 200 * open_files.TURN_S / open_files.SELDOM_S
    assert [event.looks for event in watch.told] == [2, 4, 8, 16, 32, 40]
    row = next(row for row in watch.told[-1].folders if row["folder"] == str(tmp_path))
    assert row["looks"] == 40
    assert row.get("file_system")
