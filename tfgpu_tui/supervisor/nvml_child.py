"""Reads every GPU through NVML in a process of its own, one JSON line a sample on stdout, until stdin closes.

A driver call can hang in the kernel for ever or crash the process; then only this process is lost, and its parent
(gpu.py) says so. Run by its path: it needs pynvml and nothing of this package. Arguments: the sampling period in
seconds. Lines: `{"up":true}` at start, then `{"status":"ok","gpus":[…]}` as in events.GpuSample, or
`{"status":…,"message":…}` and the end where NVML can't be used.
"""

from __future__ import annotations

import json
import select
import sys
import time
from collections.abc import Callable
from typing import Any

import pynvml as nvml

SLOW_S = 5.0
"""Period of what changes seldom or costs more: processes, power limit, name."""
RETRY_UNSUPPORTED_S = 60.0
_STATUS = {
    nvml.NVML_ERROR_LIBRARY_NOT_FOUND: "no_library",
    nvml.NVML_ERROR_DRIVER_NOT_LOADED: "no_driver",
    nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "mismatch",
}
_THROTTLE_WORDS = {
    # nvmlClocksEventReasons in nvml.h; 0x1 (idle) and 0x2 (clocks set by the user) hold nothing back.
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "thermal (software)",
    0x40: "thermal (hardware)",
    0x80: "power brake",
    0x100: "display clocks",
}
MAX_BUSY_PERCENT, MAX_POWER_MW, MAX_TEMPERATURE_C = 100, 20_000_000, 200
"""Above this a value is an old sample, an all-ones "not available", or nonsense (nvtop #110)."""


class Failed(Exception):
    """An NVML call failed: `code` as in nvml.h (None where the binding itself failed), and words."""

    def __init__(self, code: int | None, message: str) -> None:
        super().__init__(message)
        self.code = code


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """The call's value. Raises Failed for whatever NVML or its binding raises: NVMLLibraryMismatchError (a symbol that
    an old driver lacks) is no NVMLError, and a name that is no UTF-8 raises UnicodeDecodeError."""
    try:
        return function(*arguments)
    except nvml.NVMLError as error:
        raise Failed(error.value, str(error)) from error
    except Exception as error:
        raise Failed(None, f"{type(error).__name__}: {error}") from error


class Unsupported:
    """Remembers which (GPU, value) the driver does not support, and tries again each minute."""

    def __init__(self) -> None:
        self._until: dict[tuple[int, str], float] = {}

    def ask(self, index: int, name: str, read: Callable[[], Any]) -> Any:
        """The value; None where the driver does not support it. Raises Failed for every other failure."""
        key, now = (index, name), time.monotonic()
        if self._until.get(key, 0.0) > now:
            return None
        try:
            return call(read)
        except Failed as failed:
            if failed.code not in (nvml.NVML_ERROR_NOT_SUPPORTED, nvml.NVML_ERROR_FUNCTION_NOT_FOUND, None):
                raise
            self._until[key] = now + RETRY_UNSUPPORTED_S
            return None


def memory(handle: Any) -> dict[str, int | None]:
    """Bytes used, total and reserved by the driver. An old driver has only v1, which counts the
    reserved part as used."""
    try:
        info = nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2)
        return {
            "memory_used_bytes": info.used,
            "memory_total_bytes": info.total,
            "memory_reserved_bytes": info.reserved,
        }
    except (nvml.NVMLLibraryMismatchError, nvml.NVMLError_FunctionNotFound, nvml.NVMLError_ArgumentVersionMismatch):
        info = nvml.nvmlDeviceGetMemoryInfo(handle)
        return {"memory_used_bytes": info.used, "memory_total_bytes": info.total, "memory_reserved_bytes": None}


def throttle(handle: Any) -> list[str]:
    """Words for what holds the clocks down right now."""
    mask = nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)
    return [word for bit, word in _THROTTLE_WORDS.items() if mask & bit]


def processes(handle: Any, total_bytes: int | None) -> list[dict[str, int | None]]:
    """Processes with a compute context, by the driver's pids; `memory_bytes` None where it can't tell.

    Drivers 535.x with a newer binding gave memory and pid in each other's place: a memory above the board's is
    not believed.
    """
    try:
        listed = nvml.nvmlDeviceGetComputeRunningProcesses(handle)
    except (nvml.NVMLLibraryMismatchError, nvml.NVMLError_FunctionNotFound):  # a driver before 510 has no _v3
        listed = nvml.nvmlDeviceGetComputeRunningProcesses_v2(handle)
    found = []
    for process in listed:
        used = process.usedGpuMemory
        believable = used is not None and (total_bytes is None or 0 <= used <= total_bytes)
        found.append({"pid": process.pid, "memory_bytes": used if believable else None})
    return found


def up_to(limit: int, value: int | None) -> int | None:
    """The value where it can be true; None where not."""
    return value if value is not None and 0 <= value <= limit else None


def fast(index: int, handle: Any, ask: Unsupported) -> dict[str, Any]:
    """What is read at each tick. What is not supported is None."""

    def read(name: str, function: Callable[[], Any]) -> Any:
        return ask.ask(index, name, function)

    busy = read("busy", lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
    milliwatts = up_to(MAX_POWER_MW, read("power", lambda: nvml.nvmlDeviceGetPowerUsage(handle)))
    celsius = read("temperature", lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
    none: dict[str, int | None] = dict.fromkeys(("memory_used_bytes", "memory_total_bytes", "memory_reserved_bytes"))
    return {
        "busy_percent": up_to(MAX_BUSY_PERCENT, busy),
        **(read("memory", lambda: memory(handle)) or none),
        "power_w": None if milliwatts is None else milliwatts / 1000,
        "temperature_c": up_to(MAX_TEMPERATURE_C, celsius),
        "sm_clock_mhz": read("clock", lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
        "throttle": read("throttle", lambda: throttle(handle)),
    }


def slow(index: int, handle: Any, ask: Unsupported, total_bytes: int | None) -> dict[str, Any]:
    """What is read every few seconds."""
    limit = ask.ask(index, "power limit", lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle))
    out = {
        "name": ask.ask(index, "name", lambda: nvml.nvmlDeviceGetName(handle)),
        "power_limit_w": None if limit is None else limit / 1000,
    }
    try:
        out["processes"] = ask.ask(index, "processes", lambda: processes(handle, total_bytes))
    except Failed:  # NO_PERMISSION and the like: unknown, which is not "none"; the other values are good
        out["processes"] = None
    return out


def sample(count: int, ask: Unsupported, with_slow: bool) -> list[dict[str, Any]]:
    """Every GPU. One that fails (lost, fallen off the bus) is a row with its `error`; the others go on."""
    return [_sample_one(index, ask, with_slow) for index in range(count)]


def _sample_one(index: int, ask: Unsupported, with_slow: bool) -> dict[str, Any]:
    out: dict[str, Any] = {"index": index, "error": None}
    try:
        # By index each time: a lost board fails right here.
        handle = call(nvml.nvmlDeviceGetHandleByIndex, index)
        out["uuid"] = ask.ask(index, "uuid", lambda: nvml.nvmlDeviceGetUUID(handle))
        out["pci"] = ask.ask(index, "pci", lambda: nvml.nvmlDeviceGetPciInfo(handle).busId)
        out |= fast(index, handle, ask)
        if with_slow:
            out |= slow(index, handle, ask, out["memory_total_bytes"])
    except Failed as failed:
        out["error"] = str(failed)
    return out


def say(message: dict[str, Any]) -> None:
    """One line to the parent."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def give_up(failed: Failed, what: str) -> int:
    """Says why NVML can't be used, for a mismatch with the version of the kernel module; the exit status."""
    status = _STATUS.get(failed.code or 0, "error")
    detail = f" ({kernel_module()})" if status == "mismatch" else ""
    say({"status": status, "message": f"{what}{failed}{detail}"})
    return 2


def kernel_module() -> str:
    """The loaded NVIDIA kernel module, in its own words."""
    try:
        with open("/proc/driver/nvidia/version") as file:
            return file.readline().strip()
    except OSError:
        return "no NVIDIA kernel module is loaded"


def main(interval_s: float) -> int:
    """Samples until stdin closes (0), or NVML can't be used (2)."""
    say({"up": True})
    try:
        call(nvml.nvmlInit)
    except Failed as failed:
        return give_up(failed, "")
    ask, last_slow = Unsupported(), -SLOW_S
    while True:
        began = time.monotonic()
        try:
            count = call(nvml.nvmlDeviceGetCount)
        except Failed as failed:
            return give_up(failed, "the GPUs can't be counted any more: ")
        if count == 0:
            say({"status": "no_gpu", "message": "the NVIDIA driver shows no GPU to this process"})
            return 2
        with_slow = began - last_slow >= SLOW_S
        last_slow = began if with_slow else last_slow
        say({"status": "ok", "gpus": sample(count, ask, with_slow)})
        # Sleeps on stdin: when the parent is gone, however it went, so are we.
        if select.select([0], [], [], max(0.0, interval_s - (time.monotonic() - began)))[0]:
            return 0


if __name__ == "__main__":
    try:
        sys.exit(main(float(sys.argv[1])))
    except BrokenPipeError:
        sys.exit(0)
