"""The training survives everything: each fault hits a real run whose script counts its own steps."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nvml.build import compiler
from tests.process.conftest import (
    Workplace,
    of_type,
    processes_with,
    read_journal,
    supervisor_of,
    wait_until,
)
from tests.process.steps import SCRIPT, Counting, counting
from tfgpu_tui.core.events import Dropped, Fault, GpuSample, HostSample, RunEnded, RunStarted
from tfgpu_tui.runs import listing, pruning, rundir
from tfgpu_tui.supervisor import launch


def faults(counted: Counting, part: str) -> list[str]:
    return [e.message for e in of_type(counted.run, Fault) if isinstance(e, Fault) and e.part == part]


def samples(counted: Counting) -> int:
    return len(of_type(counted.run, HostSample))


def test_a_killed_supervisor_costs_a_second_of_samples(place: Workplace) -> None:
    counted = counting(place)
    first = supervisor_of(counted.run)
    wait_until(lambda: samples(counted) >= 2, "the machine was sampled")
    os.kill(first, signal.SIGKILL)
    counted.goes_on()
    second = supervisor_of(counted.run, not_this=first)
    assert second != first
    before = samples(counted)
    wait_until(lambda: samples(counted) >= before + 2, "the next supervisor samples")
    launch.resize(counted.run, 90, 30)  # and it answers
    summary = counted.finish()
    assert (summary.exit_code, summary.signal) == (3, None)
    assert counted.output() == counted.whole_output(), "nothing is missing, and no hang-up came"
    journal = read_journal(counted.run)
    assert [type(e) for e in journal].count(RunStarted) == 1 and isinstance(journal[-1], RunEnded)
    (said,) = faults(counted, "supervisor")
    assert "ended by signal 9" in said
    wait_until(counted.run.report_path.exists, "the report is written")


def test_a_supervisor_that_can_not_live_costs_neither_output_nor_the_end(place: Workplace) -> None:
    counted = counting(place)
    seen: int | None = None
    for _ in range(3):
        seen = supervisor_of(counted.run, not_this=seen)
        os.kill(seen, signal.SIGKILL)
        counted.goes_on()
    summary = counted.finish()
    assert summary.exit_code == 3
    assert counted.output() == counted.whole_output()


def test_a_killed_keeper_costs_the_exit_status_only(place: Workplace) -> None:
    counted = counting(place)
    supervisor_of(counted.run)
    wait_until(lambda: samples(counted) >= 1, "the supervisor is at work")
    keeper = rundir.read_meta(counted.run).keeper_pid
    assert keeper is not None
    os.kill(keeper, signal.SIGKILL)
    counted.goes_on()
    assert listing.summary(counted.run).state == "running"
    summary = counted.finish()
    assert (summary.exit_code, summary.signal) == (None, None)
    assert counted.output() == counted.whole_output()
    assert "exit status will not be known" in faults(counted, "keeper")[0]
    listed = place.tool("runs").stdout.decode()
    assert "ended, status unknown" in listed
    assert "not known" in place.tool("report", counted.run.id).stdout.decode()


def test_everything_of_the_monitor_suspended_and_resumed(place: Workplace) -> None:
    """As when a laptop sleeps: all processes of the run stop at once, and go on later."""
    counted = counting(place)
    supervisor_of(counted.run)
    wait_until(lambda: samples(counted) >= 1, "the supervisor is at work")
    processes = processes_with(str(place.state))
    assert len(processes) >= 3
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    steps = counted.steps()
    time.sleep(0.5)  # the suspension itself
    assert counted.steps() <= steps + 1
    for pid in processes:
        os.kill(pid, signal.SIGCONT)
    counted.goes_on()
    assert counted.finish().exit_code == 3
    assert counted.output() == counted.whole_output()


def test_a_killed_nvml_child_is_replaced(place: Workplace) -> None:
    counted = counting(place)
    supervisor = supervisor_of(counted.run)

    def child() -> int | None:
        for pid in processes_with(str(place.state)):
            command = Path(f"/proc/{pid}/cmdline").read_bytes() if Path(f"/proc/{pid}").exists() else b""
            if b"nvml_child.py" in command:
                return pid
        return None

    wait_until(lambda: child() or of_type(counted.run, GpuSample), "the GPU sampler was started")
    if (pid := child()) is not None:
        os.kill(pid, signal.SIGKILL)
    counted.goes_on()
    assert supervisor_of(counted.run) == supervisor
    assert counted.finish().exit_code == 3


def test_a_full_disk_costs_events_which_are_counted(place: Workplace) -> None:
    """No file of the monitor may grow any more, then the disk is free again."""
    counted = counting(place)
    supervisor = supervisor_of(counted.run)
    keeper = rundir.read_meta(counted.run).keeper_pid
    assert keeper is not None
    wait_until(lambda: samples(counted) >= 1, "the supervisor is at work")
    unlimited = resource.prlimit(supervisor, resource.RLIMIT_FSIZE)
    full = (counted.run.journal.stat().st_size // 2, unlimited[1])
    for pid in (supervisor, keeper):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, full)
    size, steps = counted.run.journal.stat().st_size, counted.steps()
    wait_until(lambda: counted.steps() > steps + 300, "the script printed more than is held back for the file's end")
    assert counted.run.journal.stat().st_size == size
    for pid in (supervisor, keeper):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)
    wait_until(lambda: of_type(counted.run, Dropped), "what was lost was counted")
    wait_until(lambda: "left out here" in counted.run.output_log.read_text(), "missing output was said")
    assert counted.finish().exit_code == 3
    assert counted.output()[-1] == counted.whole_output()[-1]
    report = json.loads(place.tool("report", counted.run.id, "--json").stdout)
    assert "File too large" in str(report["monitor"]["faults"]), "the state knows what the journal could not hold"


def fill(counted: Counting, disk: Path | None) -> None:
    """Takes the last byte of the disk; where there is none of our own, of what a process may write."""
    if disk is not None:
        with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        return
    for pid in (supervisor_of(counted.run), rundir.read_meta(counted.run).keeper_pid):
        assert pid is not None
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (2048, resource.RLIM_INFINITY))


def test_a_run_that_ends_on_a_full_disk_has_ended(place: Workplace, small_disk: Path | None) -> None:
    counted = counting(place)
    supervisor = supervisor_of(counted.run)
    wait_until(lambda: samples(counted) >= 1, "the supervisor is at work")
    fill(counted, small_disk)
    # The disk still takes what fits into the journal's last page.
    wait_until(lambda: small_disk is None or counted.run.journal.stat().st_size % 4096 == 0, "that page is full, too")
    counted.goes_on()
    assert counted.finish().exit_code == 3
    wait_until(lambda: rundir.process_start(supervisor) is None, "the supervisor has done what it could")
    assert not counted.run.report_path.exists() or not counted.run.report_path.stat().st_size
    assert "failed, exit 3" in place.tool("runs").stdout.decode()
    told = json.loads(place.tool("report", counted.run.id, "--json").stdout)
    assert (told["run"]["state"], told["run"]["exit_code"]) == ("ended", 3)
    assert told["monitor"]["dropped"] > 0, "what is missing was counted, too"


def test_a_run_of_which_nothing_is_heard_any_more_is_not_called_running(place: Workplace) -> None:
    counted = counting(place)
    supervisor, keeper = supervisor_of(counted.run), rundir.read_meta(counted.run).keeper_pid
    wait_until(lambda: samples(counted) >= 1, "the supervisor is at work")
    assert b"still running" in place.tool("report", counted.run.id).stdout
    assert keeper is not None
    for pid in (keeper, supervisor):  # its terminal hangs up, and the script hears that but goes on
        os.kill(pid, signal.SIGKILL)
    script = rundir.read_meta(counted.run).script_pid
    wait_until(lambda: listing.summary(counted.run).state == "lost", "it is lost")
    page = place.folder / "page.html"
    shown = place.tool("report", counted.run.id).stdout.decode()
    place.tool("report", counted.run.id, "--html", page)
    for text in (shown, page.read_text()):
        assert "still running" not in text and "monitor lost" in text
    assert json.loads(place.tool("report", counted.run.id, "--json").stdout)["run"]["state"] == "lost"
    counted.end.touch()
    assert script is not None
    wait_until(lambda: rundir.process_start(script) is None, "the script ended")
    pruning.prune(0)  # with the socket


def test_a_deleted_state_folder_comes_back_with_what_was_measured(place: Workplace) -> None:
    counted = counting(place)
    supervisor_of(counted.run)
    wait_until(lambda: samples(counted) >= 2, "the machine was sampled")
    started = rundir.read_meta(counted.run).started
    shutil.rmtree(place.state)
    wait_until(lambda: counted.run.journal.exists() and samples(counted) >= 2, "the journal came back and grows")
    counted.goes_on()
    summary = counted.finish()
    assert (summary.exit_code, summary.started) == (3, started)
    assert counted.output() == counted.whole_output()
    shown = place.tool("report", counted.run.id)
    assert shown.returncode == 0 and b"exit code 3" in shown.stdout
    assert "was deleted" in faults(counted, "journal")[0]


@pytest.fixture
def read_only() -> Iterator[list[Path]]:
    mounted: list[Path] = []
    yield mounted
    for path in mounted:
        subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_state_folder_made_read_only(place: Workplace, read_only: list[Path]) -> None:
    """Files that are open can still be written; no new ones can be made: not the report either, and that is said."""
    counted = counting(place)
    supervisor = supervisor_of(counted.run)
    wait_until(lambda: samples(counted) >= 1, "the supervisor is at work")
    if os.geteuid() == 0:  # whom no mode stops
        path = counted.run.path
        done = subprocess.run(["mount", "--bind", str(path), str(path)], capture_output=True)
        if done.returncode != 0:
            pytest.skip("root may not mount here, and modes do not stop root")
        read_only.append(path)
        subprocess.run(["mount", "-o", "remount,ro,bind", str(path)], check=True)
    else:
        counted.run.path.chmod(0o500)
    before = samples(counted)
    wait_until(lambda: samples(counted) >= before + 2, "the journal goes on")
    counted.goes_on()
    assert counted.finish().exit_code == 3
    assert counted.output() == counted.whole_output()
    wait_until(lambda: rundir.process_start(supervisor) is None, "the supervisor has done what it could")
    if not read_only:
        counted.run.path.chmod(0o700)
    assert not counted.run.report_path.exists()
    shown = place.tool("report", counted.run.id)
    assert b"exit code 3" in shown.stdout, "the journal is complete, so the report can be made at any time"


def test_a_deleted_socket_is_made_anew_where_it_was(place: Workplace) -> None:
    counted = counting(place)
    supervisor_of(counted.run)
    path = Path(rundir.read_meta(counted.run).socket)
    wait_until(lambda: samples(counted) >= 1, "the supervisor is at work")
    path.unlink()
    wait_until(path.exists, "there is a socket again")
    launch.resize(counted.run, 80, 24)
    counted.goes_on()
    assert counted.finish().exit_code == 3
    assert rundir.read_meta(counted.run).socket == str(path), "processes that start later find it in their environment"


@pytest.mark.parametrize("step_s", [7200, -7200])
def test_a_clock_that_is_set_moves_nothing(
    place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step_s: int
) -> None:
    cc = compiler()
    if cc is None:
        pytest.skip("no C compiler for the clock that can be set")
    shim, offset = tmp_path / "clock.so", tmp_path / "offset"
    source = Path(__file__).with_name("clock_shim.c")
    subprocess.run([cc, "-shared", "-fPIC", "-O1", "-o", str(shim), str(source), "-ldl"], check=True)
    offset.write_text("0")
    monkeypatch.setenv("LD_PRELOAD", str(shim))
    monkeypatch.setenv("CLOCK_OFFSET", str(offset))
    counted = counting(place)
    monkeypatch.delenv("LD_PRELOAD")
    supervisor_of(counted.run)
    wait_until(lambda: samples(counted) >= 2, "the machine was sampled")
    replacement = tmp_path / "offset.new"
    replacement.write_text(str(step_s))
    replacement.replace(offset)
    wait_until(lambda: faults(counted, "clock"), "the supervisor noticed")
    before = samples(counted)
    wait_until(lambda: samples(counted) >= before + 2, "the samples go on")
    counted.goes_on()
    assert counted.finish().exit_code == 3
    events = read_journal(counted.run)
    times = [event.t for event in events]
    assert max(times) - min(times) < 120, "no event lies hours away"
    for teller in {event.src for event in events}:  # what one tells may be read late, behind what another told
        own = [event.t for event in events if event.src == teller]
        assert all(later >= earlier - 2 for earlier, later in itertools.pairwise(own)), teller
    (ended,) = of_type(counted.run, RunEnded)
    assert isinstance(ended, RunEnded) and 0 < ended.wall_s < 120


def test_a_killed_tmux_server_takes_the_screen_only(place: Workplace) -> None:
    tmux = shutil.which("tmux")
    if tmux is None:
        pytest.skip("tmux is not installed")
    end = place.folder / "end"
    script = place.script(SCRIPT)
    socket = place.folder / "tmux"
    base = [tmux, "-S", str(socket), "-f", "/dev/null"]
    env = {**place.env, "TERM": "xterm-256color"}
    subprocess.run(
        [*base, "new-session", "-d", "-x", "110", "-y", "35", *place.command(script, str(end))],
        env=env, cwd=place.folder, check=True,
    )  # fmt: skip
    try:
        wait_until(lambda: place.runs(), "the run exists")
        counted = Counting(place.only_run(), end)
        supervisor_of(counted.run)
        wait_until(lambda: counted.steps() >= 10, "it made its first steps")
        shown = [*base, "capture-pane", "-p"]
        wait_until(lambda: b"script.py" in subprocess.run(shown, capture_output=True).stdout, "the screen is there")
    finally:
        subprocess.run([*base, "kill-server"], check=True)
    counted.goes_on()
    assert counted.finish().exit_code == 3
    assert counted.output() == counted.whole_output()


def test_a_headless_supervisor_killed_leaves_the_script_as_it_is(place: Workplace) -> None:
    end = place.folder / "end"
    out = place.folder / "out"
    with out.open("wb") as file:
        process = subprocess.Popen(
            place.command("--headless", place.script(SCRIPT), str(end)),
            stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=place.env, cwd=place.folder,
        )  # fmt: skip
    wait_until(lambda: place.runs(), "the run exists")
    counted = Counting(place.only_run(), end)
    wait_until(lambda: counted.steps() >= 10, "it made its first steps")
    process.kill()
    process.wait(60)
    counted.goes_on()
    assert listing.summary(counted.run).state == "lost"
    listed = place.tool("runs").stdout.decode()
    assert "monitor lost, script goes on" in listed
    end.touch()
    script, socket = rundir.read_meta(counted.run).script_pid, rundir.read_meta(counted.run).socket
    assert script is not None
    wait_until(lambda: rundir.process_start(script) is None, "the script ended by itself")
    lines = [line.rstrip(" .") for line in out.read_text().splitlines()]
    assert lines == counted.whole_output()
    pruning.prune(0)
    assert place.runs() == [] and not Path(socket).exists()
