"""Two "hosts" (each its own name, its own numbers of processes, its own boot) on one state folder, as on a cluster's
shared home."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.conftest import Workplace, of_type, processes_with, wait_until
from tfgpu_tui.core import events as ev
from tfgpu_tui.runs import alive, listing, rundir

TRAINING = """
import os, sys, time
print("trains", flush=True)
while not os.path.exists(sys.argv[1]):
    time.sleep(0.05)
"""
ELSEWHERE = """
mount --bind "$1" /proc/sys/kernel/random/boot_id || exit 9
hostname node7
shift
exec "$@"
"""


def may_unshare() -> bool:
    """Whether this user may make a host of that kind here."""
    how = ["unshare", "--uts", "--pid", "--mount-proc", "--fork", *as_root(), "hostname", "node7"]
    try:
        return subprocess.run(how, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def as_root() -> list[str]:
    return [] if os.geteuid() == 0 else ["--map-root-user"]


pytestmark = pytest.mark.skipif(not may_unshare(), reason="namespaces can't be made here (unshare)")


@contextlib.contextmanager
def on_node7(place: Workplace, end: Path) -> Iterator[rundir.RunDir]:
    """A run that was started there, and goes on until `end` is there."""
    boot = place.folder / "boot_id"
    boot.write_text("11111111-2222-3333-4444-555555555555\n")
    script = place.script(TRAINING, "train.py")
    command = place.command("--headless", script, end)
    unshare = ["unshare", "--uts", "--pid", "--mount-proc", "--fork", "--kill-child", *as_root()]
    tool = subprocess.Popen(
        [*unshare, "sh", "-c", ELSEWHERE, "sh", str(boot), *command], cwd=place.folder, env=place.env,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        wait_until(lambda: tool.poll() is not None or of_journal(place), "its journal was begun")
        assert tool.poll() is None, tool.communicate()
        yield place.only_run()
    finally:
        end.touch()
        try:
            tool.communicate(timeout=120)
        finally:
            tool.kill()


def of_journal(place: Workplace) -> bool:
    return any((run.path / alive.NAME).exists() and rundir.RunDir(run.path).journal.exists() for run in place.runs())


def test_what_runs_on_another_host_is_watched_and_left_alone(place: Workplace, tmp_path: Path) -> None:
    end = tmp_path / "end"
    with on_node7(place, end) as run:
        (started,) = [e for e in of_type(run, ev.RunStarted) if isinstance(e, ev.RunStarted)]
        assert (started.host, started.boot_id[:8]) == ("node7", "11111111")
        way = f"runs on node7: ssh -t node7 tfgpu-tui attach {run.id}"
        assert way in place.tool("runs").stdout.decode()
        (listed,) = json.loads(place.tool("runs", "--json").stdout)
        assert (listed["state"], listed["goes_on"], listed["host"]) == ("elsewhere", True, "node7")
        refused = place.tool("stop", run.id)
        assert refused.returncode == 2 and f"ssh -t node7 tfgpu-tui stop {run.id}" in refused.stderr.decode()
        kept = place.tool("prune", "--keep", "0")
        assert run.journal.exists() and "is kept" in kept.stdout.decode() + kept.stderr.decode()
        assert json.loads(place.tool("report", run.id, "--json").stdout)["run"]["state"] == "running"
        watching = subprocess.Popen(
            place.command("attach", run.id, "--plain"), env=place.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        try:
            assert watching.stderr is not None and watching.stdout is not None
            assert way in watching.stderr.readline().decode()
            assert re.match(rb"\[tfgpu-tui \d", watching.stdout.readline())
            assert watching.poll() is None
            end.touch()
            out, _ = watching.communicate(timeout=120)
        finally:
            watching.kill()
        assert b"finished" in out or b"exit" in out, "it follows to the end, and reports"
    assert listing.summary(run).state == "ended"
    assert [run.id] == [line.split()[1] for line in place.tool("prune", "--keep", "0").stdout.decode().splitlines()[:1]]
    wait_until(lambda: not processes_with(str(place.state)), "all had ended")
