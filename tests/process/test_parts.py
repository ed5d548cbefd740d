"""The parts of the supervisor by themselves: the escalation, output.log, the disk that fails, cgroups."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tfgpu_tui.core.events import Event, Phase, RunStarted, Stopping, TrainEnd
from tfgpu_tui.core.state import RunState
from tfgpu_tui.keeper.output import OutputLog
from tfgpu_tui.runs.rundir import RunDir
from tfgpu_tui.supervisor import cgroup, closing, environment
from tfgpu_tui.supervisor.record import Recorder
from tfgpu_tui.supervisor.stopping import Stopper


def stopper(log: list[str], acts: Callable[[str], bool] = lambda stage: True) -> Stopper:
    def act(stage: str) -> bool:
        log.append(stage)
        return acts(stage)

    def emit(event: Event) -> None:
        assert isinstance(event, Stopping)
        log.append(f"{event.stage} {event.grace_s}")

    return Stopper(act, emit, {"batch": 0.1, "interrupt": 0.1, "terminate": 0.1})


async def test_the_escalation_goes_all_the_way() -> None:
    log: list[str] = []
    stopper(log).begin("batch")
    await asyncio.sleep(0.6)
    assert log == [
        "batch",
        "batch 0.1",
        "interrupt",
        "interrupt 0.1",
        "terminate",
        "terminate 0.1",
        "kill",
        "kill None",
    ]


async def test_a_stage_without_effect_is_passed_over() -> None:
    log: list[str] = []
    stopping = stopper(log, lambda stage: stage != "batch")
    stopping.begin("batch")
    assert log == ["batch", "interrupt", "interrupt 0.1"]
    stopping.begin("interrupt")
    assert log[-1] == "interrupt 0.1", "asked again: nothing new"
    stopping.close()
    await asyncio.sleep(0.3)
    assert len(log) == 3, "no further stage after the end"


async def test_progress_prolongs_the_grace() -> None:
    log: list[str] = []
    stopping = stopper(log)
    stopping.begin("batch")
    for _ in range(5):
        await asyncio.sleep(0.05)
        stopping.progressed()
    assert "interrupt" not in log
    stopping.close()


@pytest.mark.parametrize(
    ("work", "ended"),
    [
        ("while True: pass", False),
        ("while True: file.write('x'); file.flush(); time.sleep(0.05)", False),
        ("time.sleep(60)", True),
        ("signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]); time.sleep(60)", True),
    ],
)
def test_only_an_interpreter_that_waits_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: str, ended: bool
) -> None:
    monkeypatch.setattr(closing, "IDLE_S", 0.5)
    monkeypatch.setattr(closing, "KILL_S", 0.5)
    code = f"import signal, time\nfile = open({str(tmp_path / 'file')!r}, 'w')\nprint(flush=True)\n{work}\n"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    state = RunState()
    told: list[Event] = []
    ends = closing.Closing(process.pid, state, told.append)
    ends.look()
    state.apply(Phase(t=1.0, phase="exiting"))
    state.apply(TrainEnd(t=1.0, stopped="stop-after"))
    deadline = time.monotonic() + (20.0 if ended else 2.0)
    while process.poll() is None and time.monotonic() < deadline:
        ends.look()
        time.sleep(0.02)
    assert (process.poll() is not None) is ended
    stages = [event.stage for event in told if isinstance(event, Stopping)]
    assert stages == list(closing.STAGES)[: {-15: 1, -9: 2}[process.returncode] if ended else 0]
    process.kill()
    process.communicate()


def test_output_is_capped_and_still_drained(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    output = OutputLog(read_end, tmp_path / "output.log", cap_bytes=10)
    for _ in range(5):
        os.write(write_end, b"seven b")
        assert output.drain()
    assert output.drain(), "nothing there right now is not the end"
    os.close(write_end)
    assert not output.drain()
    assert (output.size_bytes, output.capped, output.error) == (10, True, None)
    assert (tmp_path / "output.log").read_bytes() == b"seven bsev"
    output.close()
    os.close(read_end)


def test_a_full_disk_is_said_and_costs_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "output.log").symlink_to("/dev/full")
    read_end, write_end = os.pipe()
    os.write(write_end, b"text")
    output = OutputLog(read_end, tmp_path / "output.log")
    assert output.drain()
    assert output.capped and output.error == "No space left on device"
    output.close()
    os.close(read_end)
    os.close(write_end)


def test_a_journal_on_a_full_disk_counts_what_is_lost(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.journal.symlink_to("/dev/full")
    recorder = Recorder(run)
    started = RunStarted(t=time.time(), id="x", argv=["a"], cwd="/", python="p")
    assert not recorder.record(started)
    assert recorder.state.run == started, "the report still knows"
    recorder.close()


def test_an_event_that_the_reducer_cannot_digest_stays_out_of_the_journal(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    recorder = Recorder(run)
    assert not recorder.record(Phase(t=float("nan"), phase="x")), "NaN is not JSON"
    assert recorder.record(Phase(t=1.0, phase="x"))
    recorder.report_drops()
    recorder.report_drops()
    recorder.close()
    lines = run.journal.read_text().splitlines()
    assert len(lines) == 2 and '"dropped"' in lines[1]


@pytest.mark.parametrize(
    ("files", "quota", "limit", "throttled"),
    [
        (
            {
                "cgroup.controllers": "cpu memory",
                "a/b/cpu.max": "max 100000",
                "a/b/memory.max": "max",
                "a/b/memory.current": "7",
                "a/cpu.max": "150000 100000",
                "a/cpu.stat": "usage_usec 5\nnr_periods 10\nnr_throttled 4\nthrottled_usec 9",
                "a/memory.max": "1048576",
            },
            1.5,
            1048576,
            cgroup.Throttling(10, 4),
        ),
        (
            {
                "cpu,cpuacct/a/b/cpu.cfs_quota_us": "-1",
                "cpu,cpuacct/a/b/cpu.cfs_period_us": "100000",
                "cpu,cpuacct/a/cpu.cfs_quota_us": "50000",
                "cpu,cpuacct/a/cpu.cfs_period_us": "100000",
                "cpu,cpuacct/a/cpu.stat": "nr_periods 3\nnr_throttled 2\nthrottled_time 1",
                "memory/a/b/memory.limit_in_bytes": "9223372036854771712",
                "memory/a/b/memory.usage_in_bytes": "7",
            },
            0.5,
            None,
            cgroup.Throttling(3, 2),
        ),
    ],
    ids=["v2", "v1"],
)
def test_cgroups(
    tmp_path: Path, files: dict[str, str], quota: float, limit: int | None, throttled: cgroup.Throttling
) -> None:
    for name, text in files.items():
        path = tmp_path / "fs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "cgroup").write_text("4:memory:/a/b\n3:cpu,cpuacct:/a/b\n0::/a/b\n")
    group = cgroup.find(tmp_path, tmp_path / "fs")
    assert group.cpu_quota() == quota
    assert group.memory_limit_bytes() == limit
    assert group.memory_bytes() == 7
    assert group.throttling() == throttled


def test_nvidia_devices_are_counted_without_a_driver(tmp_path: Path) -> None:
    for name, vendor, kind in (
        ("0000:01:00.0", "0x10de", "0x030200"),
        ("0000:01:00.1", "0x10de", "0x040300"),  # the audio function of the same board
        ("0000:02:00.0", "0x8086", "0x030000"),
        ("0000:03:00.0", "0x10de", "0x030000"),
    ):
        device = tmp_path / "pci" / name
        device.mkdir(parents=True)
        (device / "vendor").write_text(vendor + "\n")
        (device / "class").write_text(kind + "\n")
    assert environment.nvidia_devices(tmp_path / "pci", tmp_path / "none") == 2
    (tmp_path / "dev").mkdir()
    for name in ("nvidia0", "nvidia1", "nvidia2", "nvidiactl", "nvidia-uvm"):
        (tmp_path / "dev" / name).touch()
    assert environment.nvidia_devices(tmp_path / "none", tmp_path / "dev") == 3
    assert environment.nvidia_devices(tmp_path / "none", tmp_path / "none") is None


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.161.08  Sat Feb 17 22:55:48 UTC 2024\n", "535.161.08"),
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.148.08  Release Build  (root@a)\n",
            "570.148.08",
        ),
    ],
)
def test_driver_version(tmp_path: Path, text: str, version: str) -> None:
    (tmp_path / "version").write_text(text)
    assert environment.driver_version(tmp_path / "version") == version


def test_the_end_of_too_much_output_is_kept(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    output = OutputLog(read_end, tmp_path / "output.log", cap_bytes=1000)
    text = b"".join(b"line %06d\n" % number for number in range(20_000))
    for at in range(0, len(text), 4096):
        os.write(write_end, text[at : at + 4096])
        assert output.drain()
    output.close()
    kept = (tmp_path / "output.log").read_bytes()
    assert kept.startswith(text[:1000]) and kept.endswith(text[-60_000:])
    missing = len(text) - 1000 - 65536
    assert b"[tfgpu-tui: %d bytes of output were left out here]" % missing in kept
    os.close(read_end)
    os.close(write_end)
