"""A driver that fails, hangs, crashes or goes away: told in words, survived, and its recovery noticed."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pynvml
import pytest

from tests.nvml.machine import Machine
from tests.nvml.scenarios import gpu
from tests.timed import timed
from tfgpu_tui.core.state import RunState

pytestmark = timed

HELD_S = 0.25
"""More than starting a child takes on a busy machine, less than any deadline."""


def fault(code: int, call: str = "nvmlDevice*", **where: Any) -> dict[str, Any]:
    return {"call": call, "error": code, **where}


async def test_a_lost_gpu_costs_only_its_own_row(machine: Machine) -> None:
    machine.play(gpu(), gpu(1))
    machine.watch()
    before = await machine.next()
    machine.play(gpu(), gpu(1), faults=[fault(pynvml.NVML_ERROR_GPU_IS_LOST, gpu=0)])
    await machine.until(lambda: machine.samples[-1].gpus[0].get("error"))
    lost, well = machine.samples[-1].gpus
    assert "lost" in str(lost["error"]) and lost["uuid"] == before.gpus[0]["uuid"]
    assert "busy_percent" not in lost
    assert well["busy_percent"] == 86 and "error" not in well
    state = RunState()
    for sample in machine.samples:
        state.apply(sample)
    assert len(state.gpus) == 2, "the lost GPU is the same one"
    machine.play(gpu(), gpu(1))
    await machine.until(lambda: "error" not in machine.samples[-1].gpus[0])
    assert len(machine.children) == 1, "nothing was restarted for it"


async def test_one_failing_call_costs_one_field(machine: Machine) -> None:
    machine.play(gpu(), faults=[fault(pynvml.NVML_ERROR_UNKNOWN, "nvmlDeviceGetPowerUsage")])
    machine.watch()
    row = await machine.row()
    assert row["power_w"] is None and row["unknown"]["power_w"] == "Unknown Error"
    assert row["busy_percent"] == 87
    machine.play(gpu())
    await machine.until(lambda: machine.samples[-1].gpus[0]["power_w"] == 512.345)


async def test_a_gpu_that_hangs_leaves_the_others_alone(machine: Machine) -> None:
    machine.play(gpu(), gpu(1))
    machine.watch(left_out_s=(1.5,))
    await machine.next()
    machine.play(gpu(), gpu(1), faults=[{"gpu": 0, "hang": True}])
    hung = await machine.next("hung")
    assert hung.message and hung.message.startswith("GPU 0 has not answered")
    assert hung.gpus[0]["error"] == hung.message and hung.gpus[0]["uuid"]
    others = await machine.next()
    assert [row["index"] for row in others.gpus] == [1]
    machine.play(gpu(), gpu(1))
    await machine.until(lambda: [row["index"] for row in machine.samples[-1].gpus] == [0, 1])
    assert machine.longest_s < HELD_S


async def test_a_driver_that_hangs_is_told_and_waited_for(machine: Machine) -> None:
    machine.watch()
    await machine.next()
    began = time.monotonic()
    machine.play(gpu(), faults=[{"hang": True}])
    hung = await machine.next("hung")
    assert hung.message and "has not answered" in hung.message
    assert time.monotonic() - began < 2.0
    machine.play(gpu())
    await machine.next()
    assert machine.longest_s < HELD_S
    assert sum(os.path.exists(f"/proc/{pid}") for pid in machine.children) == 1


async def test_a_child_that_can_not_be_killed_has_no_second_one(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = machine.watch()
    await machine.next()
    machine.play(gpu(), faults=[{"hang": True}])
    # Uninterruptible sleep can't be made without a kernel module: a kill that does nothing looks the same from here.
    monkeypatch.setattr(subprocess.Popen, "kill", lambda self: None)
    await machine.next("hung")
    end = time.monotonic() + 1.5
    await machine.until(lambda: time.monotonic() > end)
    assert len(machine.children) == 1
    (child,) = machine.children
    began = time.monotonic()
    sampler.close()
    assert time.monotonic() - began < 0.5, "quitting does not wait for the driver"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


async def test_a_crash_of_the_driver_is_survived(machine: Machine) -> None:
    machine.watch()
    await machine.next()
    machine.play(gpu(), faults=[{"call": "nvmlDeviceGetPowerUsage", "crash": True}])
    crashed = await machine.next("crashed")
    assert crashed.message and "SIGSEGV" in crashed.message
    machine.play(gpu())
    await machine.next()
    assert machine.longest_s < HELD_S


@pytest.mark.parametrize("call", ["nvmlInit*", "nvmlDevice*"], ids=["at init", "in mid-run"])
async def test_a_replaced_driver_is_told_with_both_versions(machine: Machine, call: str) -> None:
    if call != "nvmlInit*":
        machine.watch()
        await machine.next()
    machine.play(gpu(), faults=[fault(pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, call)])
    if not machine.samplers:
        machine.watch()
    told = await machine.next("mismatch")
    assert told.message and "library 580.159.04" in told.message and "module: " in told.message
    machine.play(gpu())
    await machine.next()


@pytest.mark.parametrize(
    ("code", "status", "words"),
    [
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "no_driver", "kernel module is not loaded"),
        (pynvml.NVML_ERROR_NO_PERMISSION, "error", "may not use the NVIDIA driver"),
        (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, "no_library", "libnvidia-ml.so.1"),
    ],
)
async def test_nvml_that_does_not_start(machine: Machine, code: int, status: str, words: str) -> None:
    machine.play(faults=[fault(code, "nvmlInit*")])
    machine.watch()
    told = await machine.next(status)
    assert told.message and words in told.message


async def test_a_machine_without_the_library(machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        machine.watch()
        assert "is not installed" in str((await machine.next("no_library")).message)
    else:
        pytest.skip("this machine has an NVIDIA driver")


async def test_a_driver_without_a_gpu(machine: Machine) -> None:
    machine.play()
    machine.watch()
    assert "shows no GPU" in str((await machine.next("no_gpu")).message)


async def test_access_withdrawn_from_a_container(machine: Machine) -> None:
    machine.watch()
    await machine.next()
    machine.play(gpu(), faults=[fault(pynvml.NVML_ERROR_UNKNOWN, "nvmlDeviceGet[!C]*")])
    told = await machine.next("error")
    assert told.message == "no GPU answers: Unknown Error"
    assert told.gpus[0]["error"] == "Unknown Error" and told.gpus[0]["uuid"]
    machine.play(gpu())
    await machine.next()
    assert len(machine.children) == 2, "NVML was started anew"


async def test_a_slow_driver_is_asked_less_often(machine: Machine) -> None:
    machine.play(gpu(), faults=[{"call": "nvmlDeviceGetPowerUsage", "sleep_ms": 100}])
    machine.watch()
    await machine.next()
    began, first = time.monotonic(), len(machine.samples)
    await machine.until(lambda: len(machine.samples) == first + 3)
    assert time.monotonic() - began > 3 * 0.4 * 0.9, "a quarter of the time in the driver at most"
    assert machine.samples[-1].read_ms is not None and machine.samples[-1].read_ms > 100
