"""The machine that the run is on: host, CPUs, memory, NVIDIA devices and driver; and whether TensorFlow is there."""

from __future__ import annotations

import asyncio
import os
import platform
import re
import subprocess
import time
from pathlib import Path

from tfgpu_tui.core.events import Environment
from tfgpu_tui.supervisor import cgroup

PROBE_LIMIT_S = 5.0
_NVIDIA_VENDOR = "0x10de"
_DISPLAY_CLASSES = ("0x0300", "0x0302", "0x0380")
"""VGA controller, 3D controller, other display controller (PCI class codes): not the GPU's audio function."""


def machine() -> Environment:
    """What can be read from /proc and /sys, in a few milliseconds. What can't be read is None."""
    group = cgroup.find()
    return Environment(
        t=time.time(),
        src="host",
        host=platform.node() or None,
        cpu_model=_cpu_model(),
        cpu_count=len(os.sched_getaffinity(0)),
        cpu_half=half_precision(),
        cpu_quota=group.cpu_quota(),
        memory_total_bytes=_memory_total_bytes(),
        memory_limit_bytes=group.memory_limit_bytes(),
        nvidia_devices=nvidia_devices(),
        driver=driver_version(),
    )


def nvidia_devices(pci: Path = Path("/sys/bus/pci/devices"), dev: Path = Path("/dev")) -> int | None:
    """NVIDIA GPUs in the box, whether or not their driver works: on the PCI bus, or as device files in a container
    that hides the bus. None where neither can be looked at."""
    counts = []
    try:
        counts.append(sum(_is_nvidia_gpu(device) for device in pci.iterdir()))
    except OSError:
        pass
    try:
        counts.append(sum(re.fullmatch(r"nvidia\d+", entry.name) is not None for entry in dev.iterdir()))
    except OSError:
        pass
    return max(counts, default=None)


def _is_nvidia_gpu(device: Path) -> bool:
    try:
        vendor, kind = (device / "vendor").read_text().strip(), (device / "class").read_text().strip()
    except OSError:
        return False
    return vendor == _NVIDIA_VENDOR and kind.startswith(_DISPLAY_CLASSES)


def driver_version(path: Path = Path("/proc/driver/nvidia/version")) -> str | None:
    """The version of the loaded kernel module, e.g. `570.148.08`; None where no NVIDIA module is loaded."""
    try:
        found = re.search(r"Kernel Module(?: for \S+)?\s+(\d+(?:\.\d+)+)", path.read_text())
    except OSError:
        return None
    return found.group(1) if found else None


def _cpu_model(path: Path = Path("/proc/cpuinfo")) -> str | None:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", path.read_text(), re.MULTILINE)
    except OSError:
        return None
    return found.group(1).strip() if found else platform.processor() or None


HALF = {
    "avx512_fp16": "float16", "amx_fp16": "float16", "asimdhp": "float16", "avx512_bf16": "bfloat16",
    "amx_bf16": "bfloat16", "bf16": "bfloat16",
}  # fmt: skip
"""Names of Linux for what a CPU can do (`flags` of x86, `Features` of ARM) -> the dtype that it has arithmetic for."""


def half_precision(path: Path = Path("/proc/cpuinfo")) -> list[str] | None:
    """The 16-bit dtypes that the CPU computes in; None where the kernel does not say what the CPU can do."""
    try:
        found = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", path.read_text(), re.MULTILINE)
    except OSError:
        return None
    return None if found is None else sorted({HALF[name] for name in found.group(1).split() if name in HALF})


def _memory_total_bytes(path: Path = Path("/proc/meminfo")) -> int | None:
    try:
        found = re.search(r"^MemTotal:\s+(\d+) kB", path.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found.group(1)) * 1024 if found else None


async def tensorflow_is_missing(python: str, cwd: str) -> bool:
    """Asks the script's interpreter, without importing it, whether TensorFlow is installed. False where it is, and
    where the interpreter does not answer in time."""
    code = "import importlib.util as u; s = u.find_spec('tensorflow'); print('yes' if s and s.origin else 'no')"
    try:
        process = subprocess.Popen(
            [python, "-c", code],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return False
    deadline = time.monotonic() + PROBE_LIMIT_S
    try:
        while process.poll() is None and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
    finally:
        process.kill()
        out, _ = process.communicate()
    return out == b"no\n"
