"""How the GPU sampler bears a hostile driver: `python -m benchmarks.nvml_faults` plays each fault on the NVML stand-in.

One row a fault: what is shown, after how long, for how long the supervisor was held at most, how long after the fault
was over the values are back, and how long quitting in the middle of it takes; then what sampling costs with 8 GPUs and
40 processes, and what faults that come again and again leave behind. About three minutes, with the deadlines of the
real thing. Exit status 1 where the supervisor was held for more than 0.25 s, quitting took more than 0.5 s, sampling
costs more than 2 % of a core, memory grew by a MiB, or a process was left.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pynvml

from tests.nvml.build import build
from tests.nvml.machine import Machine
from tests.nvml.scenarios import gpu
from tfgpu_tui.core.events import GpuSample
from tfgpu_tui.supervisor.gpu import ANSWER_DEADLINE_S, INIT_DEADLINE_S, GpuSampler

INTERVAL_S = 0.5
HELD_S, QUIT_S, CPU_PERCENT = 0.25, 0.5, 2.0
COST_S = 20.0
REPEATS, GROWN_BYTES = 16, 2**20
LONGEST_S = 90.0


@dataclass(frozen=True)
class Fault:
    """A fault of the second of two GPUs, or of all. `told` finds the sample that shows it."""

    name: str
    faults: list[dict[str, Any]]
    told: Callable[[GpuSample], str | None]
    from_start: bool = False


@dataclass(frozen=True)
class Outcome:
    """Times in seconds."""

    shown: str
    noticed_s: float
    held_s: float
    recovered_s: float
    quit_s: float


def message(sample: GpuSample) -> str | None:
    """What a status other than ok says."""
    return None if sample.status == "ok" else f"{sample.status}: {sample.message}"


def row_error(sample: GpuSample) -> str | None:
    """The error of the second GPU's row, while the first goes on."""
    errors = [gpu.get("error") for gpu in sample.gpus]
    return str(errors[1]) if len(errors) == 2 and errors[1] and not errors[0] else None


def no_power(sample: GpuSample) -> str | None:
    """A row without its power."""
    return "power: –, all else goes on" if sample.gpus and sample.gpus[-1].get("power_w", 0) is None else None


FAULTS = (
    Fault("a GPU is lost", [{"gpu": 1, "error": pynvml.NVML_ERROR_GPU_IS_LOST}], row_error),
    Fault("one call fails", [{"call": "nvmlDeviceGetPowerUsage", "error": pynvml.NVML_ERROR_UNKNOWN}], no_power),
    Fault("a call crashes", [{"call": "nvmlDeviceGetPowerUsage", "crash": True}], message),
    Fault("the driver is replaced", [{"error": pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH}], message),
    Fault("access is withdrawn", [{"error": pynvml.NVML_ERROR_UNKNOWN}], message),
    Fault("all calls hang", [{"hang": True}], message),
    Fault("nvmlInit hangs", [{"call": "nvmlInit*", "hang": True}], message, from_start=True),
    Fault("a GPU's calls hang", [{"gpu": 1, "hang": True}], message),
)
REPEATED = [fault for fault in FAULTS if fault.name in ("a GPU is lost", "one call fails")]


def watch(machine: Machine) -> GpuSampler:
    """The sampler with the deadlines of a real run."""
    return machine.watch(INTERVAL_S, init_deadline_s=INIT_DEADLINE_S, answer_deadline_s=ANSWER_DEADLINE_S)


def whole(sample: GpuSample) -> bool:
    """Both GPUs, with all their values."""
    return len(sample.gpus) == 2 and all(gpu.get("power_w") is not None for gpu in sample.gpus)


async def play(fault: Fault, scenario: Path) -> Outcome:
    """The fault, its end, and the fault again with a quit in the middle."""
    machine = Machine(scenario)
    both = (gpu(), gpu(1))
    machine.play(*both, faults=fault.faults if fault.from_start else None)
    sampler = watch(machine)
    if not fault.from_start:
        await machine.until(lambda: machine.samples)
    first = len(machine.samples)
    began = time.monotonic()
    machine.play(*both, faults=fault.faults)
    await machine.until(lambda: any(fault.told(s) for s in machine.samples[first:]), LONGEST_S)
    noticed = time.monotonic()
    shown = next(said for s in machine.samples[first:] if (said := fault.told(s)))
    machine.play(*both)
    await machine.until(lambda: whole(machine.samples[-1]), LONGEST_S)
    recovered = time.monotonic()
    machine.play(*both, faults=fault.faults)
    await asyncio.sleep(2 * INTERVAL_S)
    quitting = time.monotonic()
    sampler.close()
    return Outcome(shown, noticed - began, machine.longest_s, recovered - noticed, time.monotonic() - quitting)


async def cost(scenario: Path) -> tuple[float, float, float]:
    """Percent of a core in the child and in its parent, and milliseconds a sample, with 8 GPUs and 40 processes."""
    machine = Machine(scenario)
    processes = [{"pid": os.getpid(), "memory_mib": 1000, "busy_percent": 10}] * 5
    machine.play(*(gpu(i, processes=processes) for i in range(8)))
    sampler = watch(machine)
    await machine.until(lambda: machine.samples)
    assert sampler.child_pid is not None
    child = psutil.Process(sampler.child_pid)
    before, ours = child.cpu_times(), time.process_time()
    end = time.monotonic() + COST_S
    while time.monotonic() < end:
        sampler.tick()
        await asyncio.sleep(0.25)
    after, ours = child.cpu_times(), time.process_time() - ours
    sampler.close()
    spent = after.user + after.system - before.user - before.system
    read_ms = [s.read_ms for s in machine.samples if s.read_ms is not None]
    return spent / COST_S * 100, ours / COST_S * 100, sum(read_ms) / len(read_ms)


async def again_and_again(fault: Fault, scenario: Path) -> tuple[int, int, int]:
    """Bytes that this process, which holds the sampler, has more after the last of several faults than after the first
    few, and its child processes before and after quitting."""
    machine = Machine(scenario)
    both = (gpu(), gpu(1))
    machine.play(*both)
    sampler, me, resident = watch(machine), psutil.Process(), []
    await machine.until(lambda: machine.samples)
    for _ in range(REPEATS):
        machine.samples.clear()  # the benchmark's own notes are no growth
        machine.play(*both, faults=fault.faults)
        await machine.until(lambda: any(fault.told(s) for s in machine.samples), LONGEST_S)
        machine.play(*both)
        await machine.until(lambda: whole(machine.samples[-1]), LONGEST_S)
        resident.append(me.memory_info().rss)
    running = len(me.children(recursive=True))
    sampler.close()
    deadline = time.monotonic() + LONGEST_S
    while me.children(recursive=True) and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    return resident[-1] - resident[REPEATS // 4], running, len(me.children(recursive=True))


def main() -> int:
    """Prints the table."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LD_LIBRARY_PATH"] = str(build(Path(folder) / "lib"))
        scenario = Path(folder) / "scenario.json"
        os.environ["NVML_SIM"] = str(scenario)
        missed = False
        print(f"{'fault':<24}{'noticed':>9}{'held':>9}{'back':>9}{'quit':>9}   shown")
        for fault in FAULTS:
            got = asyncio.run(play(fault, scenario))
            missed |= got.held_s > HELD_S or got.quit_s > QUIT_S
            print(
                f"{fault.name:<24}{got.noticed_s:>7.2f} s{got.held_s * 1e3:>6.0f} ms{got.recovered_s:>7.2f} s"
                f"{got.quit_s * 1e3:>6.0f} ms   {got.shown}",
                flush=True,
            )
        print(f"\n{REPEATS} times each: {'memory':>12}   child processes, and after quitting")
        for fault in REPEATED:
            grown, running, left = asyncio.run(again_and_again(fault, scenario))
            missed |= grown > GROWN_BYTES or left > 0
            print(f"{fault.name:<24}{grown / 1024:>+8.0f} KiB   {running}, {left}", flush=True)
        child, parent, read_ms = asyncio.run(cost(scenario))
        print(
            f"\n8 GPUs, 40 processes, {1 / INTERVAL_S:g} Hz: {child:.2f} % of a core in the child, {parent:.2f} % in "
            f"its parent; {read_ms:.2f} ms a sample"
        )
        return int(missed or child + parent > CPU_PERCENT)


if __name__ == "__main__":
    sys.exit(main())
