"""The fleet over ssh: a real sshd on loopback, with keys of its own; its link is dropped in the middle."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.fleet import Replayed
from tests.process.conftest import wait_until
from tfgpu_tui.core.fleet import Row
from tfgpu_tui.fleet import remote

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/bin:/sbin")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(SSHD is None or shutil.which("ssh-keygen") is None, reason="there is no sshd here"),
]


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A host `box` that ssh reaches: this machine, with a state folder of its own (the folder that is returned)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name in ("host", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True)
    state, tools = tmp_path / "state", tmp_path / "bin"
    state.mkdir(mode=0o700)
    tools.mkdir()
    (tools / "tfgpu-tui").write_text(f'#!/bin/sh\nexec {sys.executable} -m tfgpu_tui "$@"\n')
    (tools / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {tmp_path}/config "$@"\n')
    for path in tools.iterdir():
        path.chmod(0o755)
    variables = f"PATH={tools}:{os.environ['PATH']} PYTHONPATH={Path(__file__).parents[2]} TFGPU_TUI_STATE_DIR={state}"
    (tmp_path / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {tmp_path}/host\nPidFile none\nStrictModes no\nUsePAM no\n"
        f"AuthorizedKeysFile {tmp_path}/key.pub\nPasswordAuthentication no\nSetEnv {variables}\n"
    )
    (tmp_path / "config").write_text(
        f"Host box\n HostName 127.0.0.1\n Port {port}\n User {getpass.getuser()}\n IdentityFile {tmp_path}/key\n"
        f" UserKnownHostsFile {tmp_path}/known\n StrictHostKeyChecking no\n"
    )
    if os.geteuid() == 0:
        os.makedirs("/run/sshd", exist_ok=True)
    assert SSHD is not None
    server = subprocess.Popen([SSHD, "-D", "-f", str(tmp_path / "sshd_config"), "-E", str(tmp_path / "log")])
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    try:
        yield state
    finally:
        server.terminate()
        server.wait(60)


def test_a_run_of_another_host_is_read_and_a_dropped_link_is_taken_up_where_it_stood(box: Path) -> None:
    (box / "runs").mkdir(mode=0o700)
    run = Replayed(box, 0, time.time())
    host = remote.Host("box")

    def row(at_least: int = 0) -> Row | None:
        run.tick(time.time())
        host.read(time.monotonic(), 0.0)
        found = next(host.rows(time.monotonic()), None)
        return found if found is not None and (found.step or 0) >= at_least else None

    try:
        wait_until(lambda: row(1), "the run was read")
        before = row(1)
        assert before is not None and (before.key, before.job, before.rank) == ("box:train-000", "1700.0", 0)
        followed = host._runs["train-000"]
        place, state = followed._place, followed._followed.state
        assert followed._link._process is not None and place.line > 0
        followed._link._process.kill()
        wait_until(lambda: not row() or not followed._link.up, "the link was noticed to be gone")
        wait_until(lambda: row((before.step or 0) + 1), "it went on over a new link")
        assert followed._followed.state is state, "from where it stood: nothing was read again"
        assert followed._place.line <= run.run.journal.read_bytes().count(b"\n"), "no line came twice"
        assert host.notes() == []
    finally:
        host.close()


def test_a_host_that_is_none_is_said(box: Path) -> None:
    host = remote.Host("nowhere.invalid")
    try:
        wait_until(lambda: not host.read(time.monotonic(), 0.0), "there was an answer")
        assert "nowhere.invalid" in host.notes()[0]
    finally:
        host.close()


@pytest.mark.parametrize("name", ["-oProxyCommand=x", "a b", "a;b", "", "$(x)", "a'b"])
def test_what_is_no_name_of_a_host_never_reaches_ssh(name: str) -> None:
    with pytest.raises(ValueError, match="no name of a host"):
        remote.command(name, "runs", "--json")
