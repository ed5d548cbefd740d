"""Scenarios for the NVML stand-in: plain JSON, written as Python. What the keys mean is in here, once.

A scenario: `driver`, `gpus` and `faults`. A GPU: strings `name`, `uuid`, `pci`; numbers `busy_percent`,
`memory_busy_percent`, `memory_{total,used,reserved}_mib`, `power_mw`, `power_limit[_default]_mw`, `temperature_c`,
`{sm,memory}_clock[_max]_mhz`, `throttle_mask` (nvml.h's bits), `pcie_generation[_max|_gpu_max]`, `pcie_width[_max]`,
`pcie_{rx,tx}_kb_per_s` (the counters run with the clock), `ecc_{corrected,uncorrected}`,
`{sm,tensor,dram}_active_percent` (GPM); `processes` (each `pid`, `memory_mib`, `busy_percent`); `mig`, a list of slices
with their own `uuid`, `name`, `memory_…` and `processes` ([] where MIG is off, None where the board has none). For the
CUDA driver's stand-in: `capability`, e.g. [9, 0], and `cuda_rank` (the fastest has the lowest).
None, or a missing key, is NOT_SUPPORTED.

A fault: `call` (a glob over NVML's C names, `*` where left out), `gpu` (any where left out), and one of `error` (NVML's
code), `sleep_ms`, `hang` (until a later scenario lacks it) and `crash`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

Scenario = dict[str, Any]
Gpu = dict[str, Any]


def gpu(index: int = 0, **changes: Any) -> Gpu:
    """An H200 with every value that the stand-in knows; its numbers depend on `index` a little."""
    return {
        "name": "NVIDIA H200",
        "uuid": f"GPU-5e1b2c3d-0000-4000-8000-{index:012x}",
        "pci": f"00000000:{0x0A + 0x10 * index:02X}:00.0",
        "busy_percent": 87 - index,
        "memory_busy_percent": 41,
        "memory_total_mib": 143771,
        "memory_used_mib": 41234 + index,
        "memory_reserved_mib": 596,
        "power_mw": 512345,
        "power_limit_mw": 700000,
        "power_limit_default_mw": 700000,
        "temperature_c": 63,
        "sm_clock_mhz": 1965,
        "sm_clock_max_mhz": 1980,
        "memory_clock_mhz": 3201,
        "memory_clock_max_mhz": 3201,
        "throttle_mask": 0x4,
        "pcie_generation": 5,
        "pcie_generation_max": 5,
        "pcie_generation_gpu_max": 5,
        "pcie_width": 8,
        "pcie_width_max": 16,
        "pcie_rx_kb_per_s": 8_750_000,
        "pcie_tx_kb_per_s": 1_250_000,
        "ecc_corrected": 3,
        "ecc_uncorrected": 0,
        "sm_active_percent": 61.5,
        "tensor_active_percent": 33.25,
        "dram_active_percent": 40.0,
        "processes": [],
        "mig": [],
        **changes,
    }


def scenario(*gpus: Gpu, faults: list[dict[str, Any]] | None = None) -> Scenario:
    """The machine with these GPUs."""
    return {"driver": "580.159.04", "gpus": list(gpus), "faults": faults or []}


def silent(*keep: str, **changes: Any) -> Gpu:
    """A GPU that supports nothing but what is kept or changed."""
    whole = gpu()
    return {**dict.fromkeys(whole), **{key: whole[key] for key in ("name", "uuid", "pci", *keep)}, **changes}


# As NVML answers there: facts of the field, each from a report about real hardware.
WSL2 = silent(
    "busy_percent", "memory_busy_percent", "memory_total_mib", "memory_used_mib", "memory_reserved_mib",
    "temperature_c", name="NVIDIA GeForce RTX 4090",
    processes=[{"pid": 0, "memory_mib": None}],
)  # fmt: skip
JETSON = silent(name="Orin (nvgpu)", uuid="GPU-00000000-0000-4000-8000-00000000000f")
"""Unified memory: MemoryInfo is NOT_SUPPORTED, as nearly all else."""
VGPU = silent(
    "busy_percent", "memory_busy_percent", "memory_total_mib", "memory_used_mib", "memory_reserved_mib",
    name="NVIDIA A16-8C",
)  # fmt: skip
ODD = gpu(
    name="NVIDIA \udcff é",  # a byte that is no UTF-8
    busy_percent=140,
    temperature_c=255,
    power_mw=0xFFFFFFFF,
    memory_used_mib=999_999_999,
    sm_clock_mhz=0xFFFFFFFF,
    processes=[{"pid": 4_000_000_000, "memory_mib": 999_999_999, "busy_percent": 101}],
)
MIG = gpu(
    busy_percent=None,
    memory_used_mib=30000,
    mig=[
        {
            "name": "NVIDIA H200 MIG 3g.71gb",
            "uuid": "MIG-11111111-0000-4000-8000-000000000001",
            "memory_total_mib": 71424,
            "memory_used_mib": 20000,
            "memory_reserved_mib": 0,
            "processes": [{"pid": os.getpid(), "memory_mib": 19800}],
        },
        {
            "name": "NVIDIA H200 MIG 1g.18gb",
            "uuid": "MIG-22222222-0000-4000-8000-000000000002",
            "memory_total_mib": 16384,
            "memory_used_mib": 10000,
            "memory_reserved_mib": 0,
            "processes": [],
        },
    ],
)


def play(path: Path, what: Scenario) -> None:
    """Puts the scenario on, in one go: the stand-in never sees half a file."""
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(what))
    fresh.replace(path)
