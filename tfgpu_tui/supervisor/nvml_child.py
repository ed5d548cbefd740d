"""Reads every GPU through NVML in a process of its own, one JSON line a sample on stdout, until stdin closes.

A driver call can hang in the kernel for ever or crash the process; then only this process is lost, and its parent
(gpu.py) says so. Run by its path. Arguments: the sampling period in seconds, and the indices of GPUs to leave out
(`0,3`). Lines: `{"up":true}` at start; `{"reading":index,"of":count}` before each GPU, so that the parent knows which
one hangs; then `{"status":"ok","gpus":[…],"read_ms":…,"next_s":…}` as in events.GpuSample, or
`{"status":…,"message":…}` and the end where NVML can't be used.
"""

from __future__ import annotations

import json
import math
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

if not __package__:
    # By path Python puts this very folder first on the search path; what belongs there is the one above the package.
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    from tfgpu_tui.runs import search_path

    search_path.users_folders_last()

import pynvml as nvml

from tfgpu_tui.supervisor.nvml_board import Board, Failed, call
from tfgpu_tui.supervisor.nvml_read import read_board
from tfgpu_tui.supervisor.relay import FAULTS

SLOW_S = 5.0
"""Period of what changes seldom or costs more; the GPUs take turns."""
BUDGET = 0.25
"""Share of the time that may be spent in the driver: where a reading takes longer, the period grows."""
_STATUS = {
    nvml.NVML_ERROR_LIBRARY_NOT_FOUND: ("no_library", "the NVIDIA driver's library libnvidia-ml.so.1 is not installed"),
    nvml.NVML_ERROR_DRIVER_NOT_LOADED: ("no_driver", "the NVIDIA kernel module is not loaded"),
    nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: (
        "mismatch",
        "the NVIDIA driver's library and its kernel module differ in version: reboot, or reload the module",
    ),
    nvml.NVML_ERROR_NO_PERMISSION: ("error", "this user may not use the NVIDIA driver: see who may open /dev/nvidia*"),
}
_BINDING = ("nvmlMemory_v2", "nvmlDeviceGetComputeRunningProcesses", "c_nvmlGpmMetricsGet_t")
"""Names that old forks under the same module name (`nvidia-ml-py3`) lack."""


def say(message: dict[str, Any]) -> None:
    """One line to the parent."""
    sys.stdout.write(json.dumps(message, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def give_up(failed: Failed, what: str = "", rows: list[dict[str, Any]] | None = None) -> int:
    """Says why NVML can't be used, for a mismatch with both versions; the exit status."""
    status, message = _STATUS.get(failed.code or 0, ("error", str(failed)))
    detail = f" (library {library_version()}; module: {kernel_module()})" if status == "mismatch" else ""
    say({"status": status, "message": f"{what}{message}{detail}", "gpus": rows or []})
    return 2


def kernel_module() -> str:
    """The loaded NVIDIA kernel module, in its own words."""
    try:
        with open("/proc/driver/nvidia/version") as file:
            return file.readline().strip()
    except OSError:
        return "none is loaded"


def library_version() -> str:
    """The version in the name of the loaded library's file (`libnvidia-ml.so.580.159.04`)."""
    with open("/proc/self/maps") as file:
        names = {line.rstrip().rpartition("/")[2] for line in file if "libnvidia-ml.so." in line}
    return names.pop().partition(".so.")[2] if names else "of unknown version"


def main(interval_s: float, left_out: frozenset[int] = frozenset()) -> int:
    """Samples until stdin closes (0), or NVML can't be used (2)."""
    say({"up": True})
    if any(not hasattr(nvml, word) for word in _BINDING):
        words = "another package has replaced NVML's binding; pip install --force-reinstall nvidia-ml-py brings it back"
        return give_up(Failed(None, words))
    try:
        call(nvml.nvmlInit)
    except Failed as failed:
        return give_up(failed)
    boards: dict[int, Board] = {}
    while True:
        began = time.monotonic()
        try:
            count = call(nvml.nvmlDeviceGetCount)
        except Failed as failed:
            return give_up(failed, "the GPUs can't be counted any more: ")
        if count == 0:
            say({"status": "no_gpu", "message": "the NVIDIA driver shows no GPU to this process"})
            return 2
        rows = read_all([boards.setdefault(i, Board(i)) for i in range(count) if i not in left_out], count, interval_s)
        if rows and all(row.get("error") for row in rows):
            return give_up(Failed(None, rows[0]["error"]), "no GPU answers: ", rows)
        took_s = time.monotonic() - began
        pause_s = max(interval_s - took_s, took_s * (1 / BUDGET - 1))
        say({"status": "ok", "gpus": rows, "read_ms": round(took_s * 1e3, 2), "next_s": round(pause_s, 3)})
        # Sleeps on stdin: when the parent is gone, however it went, so are we.
        if select.select([0], [], [], pause_s)[0]:
            return 0


def read_all(boards: list[Board], count: int, interval_s: float) -> list[dict[str, Any]]:
    """Every GPU's row. The slow values are read of all at first, later of so many at a time that each has its turn
    once in `SLOW_S`."""
    now = time.monotonic()
    due = sorted((b for b in boards if now - b.slow_read >= SLOW_S), key=lambda b: b.slow_read)
    turns = len(boards) if any(b.slow_read == -math.inf for b in boards) else math.ceil(count * interval_s / SLOW_S)
    with_slow = {b.index for b in due[:turns]}
    rows = []
    for board in boards:
        say({"reading": board.index, "of": count})
        rows.append(read_board(board, board.index in with_slow))
        if board.index in with_slow:
            board.slow_read = now
    return rows


if __name__ == "__main__":
    # A scheduler that signals every process of a job means the script: our parent ends us by stdin, or by SIGKILL.
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - FAULTS)
    try:
        sys.exit(main(float(sys.argv[1]), frozenset(int(i) for i in "".join(sys.argv[2:]).split(",") if i)))
    except BrokenPipeError:
        sys.exit(0)
