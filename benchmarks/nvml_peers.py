"""Our GPU sampler beside nvitop and gpustat on one driver: `python -m benchmarks.nvml_peers --python PATH`.

PATH is an interpreter that has both (`pip install nvitop gpustat`); nothing is installed here. The driver is the NVML
stand-in, so the truth of every number is known. First the numbers, then what each tool shows of a fault, and whether it
answers at all within ten seconds. About a minute. Exit status 1 where a number of ours is not the scenario's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pynvml

from tests.nvml import scenarios
from tests.nvml.build import build
from tests.nvml.machine import Machine
from tests.nvml.scenarios import gpu
from tfgpu_tui.core.rows import Gpu
from tfgpu_tui.supervisor.gpu import ANSWER_DEADLINE_S, INIT_DEADLINE_S

LIMIT_S = 10.0
MIB = 2**20
NVITOP = """
import json
from nvitop import Device
def value(f):
    v = f()
    return None if str(v) == "N/A" else v if isinstance(v, (int, float)) else str(v)
rows = []
for d in Device.all():
    processes = [[p.pid, value(p.gpu_memory)] for p in d.processes().values()]
    used, total, power = value(d.memory_used), value(d.memory_total), value(d.power_usage)
    rows.append({"name": value(d.name), "busy": value(d.gpu_utilization), "used": used and round(used / 2**20),
                 "total": total and round(total / 2**20), "power": power and round(power / 1000),
                 "temperature": value(d.temperature), "processes": [[p, m and round(m / 2**20)] for p, m in processes]})
print(json.dumps(rows))
"""
FIELDS = ("busy", "used", "total", "power", "temperature", "processes")
UNITS = {"busy": "%", "used": "MiB", "total": "MiB", "power": "W", "temperature": "C", "processes": "pid, MiB"}


@dataclass(frozen=True)
class Answer:
    """What a tool made of a scenario: its rows, or what it said in place of them."""

    rows: list[dict[str, Any]]
    said: str
    seconds: float


def peer(command: list[str], read: Callable[[str], list[dict[str, Any]]]) -> Answer:
    """Runs another tool once."""
    began = time.monotonic()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, errors="replace")
    except subprocess.TimeoutExpired:
        return Answer([], f"no answer in {LIMIT_S:.0f} s, killed", LIMIT_S)
    seconds = time.monotonic() - began
    if done.returncode < 0:
        return Answer([], f"ended by {signal.Signals(-done.returncode).name}, no word", seconds)
    try:
        rows = read(done.stdout)
        return Answer(rows, "" if rows else "no GPU, and no reason", seconds)
    except ValueError:
        lines = [line for line in (done.stderr + "\n" + done.stdout).splitlines() if line.strip()]
        last = lines[-1].strip() if lines else "nothing"
        crashed = "Traceback" in done.stderr
        return Answer([], ("crashes: " if crashed else "") + last, seconds)


def from_gpustat(text: str) -> list[dict[str, Any]]:
    """The rows of `gpustat --json`."""
    rows = []
    for g in json.loads(text)["gpus"]:
        fields = {"busy": "utilization.gpu", "used": "memory.used", "total": "memory.total", "power": "power.draw",
                  "temperature": "temperature.gpu", "name": "name"}  # fmt: skip
        listed = [[p["pid"], p["gpu_memory_usage"]] for p in g.get("processes") or ()]
        rows.append({**{ours: g.get(theirs) for ours, theirs in fields.items()}, "processes": listed})
    return rows


def row_of_ours(row: Gpu) -> dict[str, Any]:
    """A row of our sampler in the same words."""

    def mib(value: int | None) -> int | None:
        return None if value is None else round(value / MIB)

    listed = row.get("processes")
    power = row.get("power_w")
    return {
        "name": row.get("name"),
        "busy": row.get("busy_percent"),
        "used": mib(row.get("memory_used_bytes")),
        "total": mib(row.get("memory_total_bytes")),
        "power": None if power is None else round(power),
        "temperature": row.get("temperature_c"),
        "processes": None if listed is None else [[p["pid"], mib(p["memory_bytes"])] for p in listed],
        "slices": row.get("slices"),
        "error": row.get("error"),
    }


async def ours(scenario: Path, script: int) -> Answer:
    """The first sample, or the first status; `script` is the pid that counts as the run's."""
    machine = Machine(scenario)
    began = time.monotonic()
    machine.watch(0.5, init_deadline_s=INIT_DEADLINE_S, answer_deadline_s=ANSWER_DEADLINE_S, ours=lambda: {script})
    await machine.until(lambda: machine.samples, 30.0)
    seconds = time.monotonic() - began
    machine.close()
    sample = machine.samples[0]
    said = "" if sample.status == "ok" else f"{sample.status}: {sample.message}"
    return Answer([row_of_ours(g) for g in sample.gpus], said, seconds)


def truth(board: scenarios.Gpu) -> dict[str, Any]:
    """What the scenario says, in the same words."""
    power, listed = board["power_mw"], board["processes"]
    return {
        "busy": board["busy_percent"],
        "used": board["memory_used_mib"],
        "total": board["memory_total_mib"],
        "power": None if power is None else round(power / 1000),
        "temperature": board["temperature_c"],
        "processes": None if listed is None else [[p["pid"], p["memory_mib"]] for p in listed],
    }


def show(value: object) -> str:
    """A cell."""
    if isinstance(value, list):
        return "; ".join(f"{pid} {'–' if m is None else m}" for pid, m in value) or "none"
    return "–" if value is None else str(value)


def ask_all(python: str, scenario: Path, script: int) -> dict[str, Answer]:
    """The three tools, one after the other."""
    return {
        "ours": asyncio.run(ours(scenario, script)),
        "nvitop": peer([python, "-c", NVITOP], json.loads),
        "gpustat": peer([python, "-m", "gpustat", "--json"], from_gpustat),
    }


def numbers(python: str, scenario: Path, script: int) -> bool:
    """Prints the numbers; False where one of ours is wrong."""
    own = [{"pid": script, "memory_mib": 40210, "busy_percent": 85}]
    boards = {
        "H200": gpu(processes=own),
        "second of two": gpu(1, processes=own),
        "WSL2-like": scenarios.WSL2,
        "Jetson-like": scenarios.JETSON,
        "vGPU": scenarios.VGPU,
        "MIG": {**scenarios.MIG, "processes": own},
    }
    right = True
    print(f"{'GPU':<16}{'value':<24}{'scenario':>20}{'ours':>20}{'nvitop':>20}{'gpustat':>20}")
    for name, board in boards.items():
        machine = (gpu(), board) if name == "second of two" else (board,)
        scenarios.play(scenario, scenarios.scenario(*machine))
        answers = ask_all(python, scenario, script)
        wanted = truth(board)
        for field in FIELDS:
            cells = [show(a.rows[len(machine) - 1].get(field)) if a.rows else a.said[:18] for a in answers.values()]
            right &= cells[0] == show(wanted[field])
            label = f"{field}, {UNITS[field]}"
            print(f"{name:<16}{label:<24}{show(wanted[field]):>20}" + "".join(f"{cell:>20}" for cell in cells))
    return right


FAULTS: tuple[tuple[str, tuple[scenarios.Gpu, ...], list[dict[str, Any]]], ...] = (
    ("a GPU is lost", (gpu(), gpu(1)), [{"gpu": 0, "error": pynvml.NVML_ERROR_GPU_IS_LOST}]),
    ("versions differ", (gpu(),), [{"call": "nvmlInit*", "error": pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH}]),
    ("no driver", (gpu(),), [{"call": "nvmlInit*", "error": pynvml.NVML_ERROR_DRIVER_NOT_LOADED}]),
    ("processes forbidden", (gpu(),), [{"call": "nvmlDeviceGet*Process*", "error": pynvml.NVML_ERROR_NO_PERMISSION}]),
    ("pids of the host", (gpu(processes=[{"pid": 3_999_999, "memory_mib": 40210}]),), []),
    ("a pid of 4000000000", (gpu(processes=[{"pid": 4_000_000_000, "memory_mib": 4}]),), []),
    ("a name that is no UTF-8", (gpu(name="NVIDIA \udcff"),), []),
    ("absurd values", ({**scenarios.ODD, "name": "NVIDIA H200", "processes": []},), []),
    ("all calls hang", (gpu(),), [{"call": "nvmlDeviceGet[!CH]*", "hang": True}]),
    ("nvmlInit hangs", (gpu(),), [{"call": "nvmlInit*", "hang": True}]),
    ("the driver crashes", (gpu(),), [{"call": "nvmlDeviceGetPowerUsage", "crash": True}]),
)


def faults(python: str, scenario: Path, script: int) -> None:
    """Prints what each tool shows of each fault."""
    for name, boards, planned in FAULTS:
        scenarios.play(scenario, scenarios.scenario(*boards, faults=planned))
        print(f"\n{name}")
        for tool, answer in ask_all(python, scenario, script).items():
            print(f"  {tool:<8}{answer.seconds:>6.1f} s  {summary(answer)}")


def summary(answer: Answer) -> str:
    """An answer in a line."""
    if answer.said:
        return answer.said[:150]
    rows = []
    for index, row in enumerate(answer.rows):
        error = row.get("error")
        values = ", ".join(f"{field} {show(row.get(field))}" for field in FIELDS)
        rows.append(f"{index}: {error}" if error else f"{index}: {row.get('name')}, {values}")
    return " | ".join(rows)


def main() -> int:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True, help="an interpreter with nvitop and gpustat")
    options = parser.parse_args()
    versions = "import importlib.metadata as m; print(*(f'{n} {m.version(n)}' for n in ('nvitop', 'gpustat')))"
    print(subprocess.run([options.python, "-c", versions], capture_output=True, text=True, check=True).stdout)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LD_LIBRARY_PATH"] = str(build(Path(folder) / "lib"))
        scenario = Path(folder) / "scenario.json"
        os.environ["NVML_SIM"] = str(scenario)
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as script:
            right = numbers(options.python, scenario, script.pid)
            faults(options.python, scenario, script.pid)
            script.kill()
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
