"""The parent's side of the GPU sampler: a deadline on every answer, and a new child after a failure, never blocking."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any

from tfgpu_tui.core.events import GpuSample
from tfgpu_tui.core.rows import Gpu, GpuProcess
from tfgpu_tui.runs.search_path import own_python

CHILD = Path(__file__).parent / "nvml_child.py"
_PIDS = Path("/proc/self/ns/pid")
NESTED = _PIDS.exists() and _PIDS.stat().st_ino != 0xEFFFFFFC
"""True in a container: the first pid namespace has this number (PROC_PID_INIT_INO in the kernel's proc_ns.h)."""
INIT_DEADLINE_S = 10.0
"""nvmlInit takes seconds where the driver is not kept loaded (no persistence mode)."""
ANSWER_DEADLINE_S = 3.0
"""On top of the sampling period."""
RETRY_S = (1.0, 2.0, 5.0, 15.0, 60.0)
"""Waits before a new child, by the number of failures in a row."""
STEADY_S = 30.0
"""A child that lived so long was no failure: the next wait is the shortest again."""
LEFT_OUT_S = (60.0, 300.0)
"""How long a GPU that hung is left out, so that the others are still shown: the first time, and from then on."""
PERMANENT = frozenset({"no_library", "no_driver", "no_gpu"})
"""Nothing to wait for within a run: asked again only each minute."""


class GpuSampler:
    """One NVML child at a time. `tick` must be called a few times a second; everything else follows from it."""

    def __init__(
        self,
        emit: Callable[[GpuSample], Any],
        interval_s: float,
        ours: Callable[[], Container[int]] = lambda: (),
        command: list[str] | None = None,
        init_deadline_s: float = INIT_DEADLINE_S,
        answer_deadline_s: float = ANSWER_DEADLINE_S,
        left_out_s: tuple[float, ...] = LEFT_OUT_S,
    ) -> None:
        """`ours()` are the pids of the run; `command` replaces the child (tests)."""
        self._emit = emit
        self._ours = ours
        self._command = command or [*own_python(), str(CHILD), str(interval_s)]
        self._interval_s = interval_s
        self._init_deadline_s = init_deadline_s
        self._answer_deadline_s = answer_deadline_s
        self._left_out_s = left_out_s
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = b""
        self._deadline = self._patience_s = 0.0
        self._started = 0.0
        self._next_start = 0.0
        self._failures = 0
        self._told: tuple[str, str | None] | None = None
        self._status: str | None = None
        """What the present child said of itself before it ended."""
        self._hung = False
        self._reading: tuple[int, int] | None = None
        """The GPU whose answer is awaited, and how many there are."""
        self._left_out: dict[int, float] = {}
        """GPUs that hung -> when they are asked again (monotonic)."""
        self._hangs: dict[int, int] = {}
        self._uuids: dict[int | None, str] = {}
        """Of GPUs that answered once: a lost one can't say it any more, and must still be the same row."""

    @property
    def child_pid(self) -> int | None:
        """The child that is there now."""
        return self._process.pid if self._process is not None else None

    def tick(self) -> None:
        """Starts a child when one is due, and notices one that ended or does not answer."""
        now = time.monotonic()
        if self._process is None:
            if now >= self._next_start:
                self._start(now)
        elif self._process.poll() is not None:
            self._ended(self._process.returncode, now)
        elif now > self._deadline and not self._hung:
            self._hang(now)
        elif self._left_out and now >= min(self._left_out.values()):
            self._ask_all_again()

    def _hang(self, now: float) -> None:
        assert self._process is not None
        self._hung = True
        waited_s = now - self._deadline + self._patience_s
        rows = []
        if self._reading is not None and self._reading[1] - len(self._left_out) > 1:
            index = self._reading[0]
            wait_s = self._left_out_s[min(self._hangs.get(index, 0), len(self._left_out_s) - 1)]
            self._hangs[index] = self._hangs.get(index, 0) + 1
            self._left_out[index] = now + wait_s
            what = f"GPU {index} has not answered for {waited_s:.0f} s; asked again in {wait_s:.0f} s"
            rows = [self._finish({"index": index, "error": what})]
        else:
            what = f"the NVIDIA driver has not answered for {waited_s:.0f} s; trying again when it lets go"
        self._tell("hung", what, rows)
        # In uninterruptible sleep it dies only when the driver lets go: until then there is no second child.
        self._process.kill()

    def _ask_all_again(self) -> None:
        """Ends the child by closing its stdin: the next one asks the GPUs that were left out, too."""
        assert self._process is not None and self._process.stdin is not None
        self._left_out = {}
        self._process.stdin.close()

    def close(self) -> None:
        """Ends the child without waiting for it: one that hangs in the kernel can't be waited for."""
        if self._process is None:
            return
        self._forget_output()
        self._process.kill()
        try:
            self._process.wait(0.2)
        except subprocess.TimeoutExpired:
            pass
        self._process = None

    def _start(self, now: float) -> None:
        try:
            self._process = subprocess.Popen(
                [*self._command, *([",".join(map(str, sorted(self._left_out)))] if self._left_out else [])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # the terminal's Ctrl+C is not for it
            )
        except OSError as error:
            self._tell("error", f"the GPU sampler can't be started: {error}")
            self._retry_later(now)
            return
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        os.set_blocking(descriptor, False)
        self._buffer, self._status, self._hung, self._reading = b"", None, False, None
        self._started = now
        self._await(self._init_deadline_s)
        asyncio.get_running_loop().add_reader(descriptor, self._read, descriptor)

    def _await(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._deadline = time.monotonic() + patience_s

    def _read(self, descriptor: int) -> None:
        try:
            data = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            return
        if not data:
            asyncio.get_running_loop().remove_reader(descriptor)
            return
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            try:
                self._take(json.loads(line))
            except (ValueError, KeyError, TypeError):  # a library wrote to stdout, or the child is not ours
                self._tell("error", f"the GPU sampler said something else than a sample: {line[:200]!r}")

    def _take(self, message: dict[str, Any]) -> None:
        if "reading" in message:
            self._reading = (message["reading"], message["of"])
        if "status" not in message:
            return
        self._status = message["status"]
        rows = [self._finish(gpu) for gpu in message.get("gpus", ())]
        if self._status != "ok":
            self._tell(message["status"], message.get("message"), rows)
            return
        self._reading = None
        self._await(message.get("next_s", self._interval_s) + self._answer_deadline_s)
        self._told = None
        self._emit(GpuSample(t=time.time(), src="gpu", gpus=rows, read_ms=message.get("read_ms")))

    def _finish(self, gpu: Gpu) -> Gpu:
        """The row with its UUID, as long as it was ever known, and with our processes marked."""
        index, uuid = gpu["index"], gpu.get("uuid")
        if uuid:
            self._uuids[index] = uuid
        gpu = {**gpu, "uuid": self._uuids.get(index)}
        for part in (gpu, *(gpu.get("slices") or ())):
            if part.get("processes"):
                part["processes"] = mark_ours(part["processes"], self._ours())
        return gpu

    def _ended(self, code: int, now: float) -> None:
        asked_to = self._process is not None and self._process.stdin is not None and self._process.stdin.closed
        self._forget_output()
        self._process = None
        if asked_to and code == 0:
            self._next_start = now
            return
        if self._status in (None, "ok") and not self._hung:
            how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
            self._tell("crashed", f"the GPU sampler ended with {how}; a new one follows")
        self._retry_later(now)

    def _forget_output(self) -> None:
        """Reads what is left and closes the pipes."""
        process = self._process
        assert process is not None and process.stdout is not None and process.stdin is not None
        descriptor = process.stdout.fileno()
        if process.poll() is not None:
            self._read(descriptor)
        asyncio.get_running_loop().remove_reader(descriptor)
        process.stdout.close()
        process.stdin.close()

    def _retry_later(self, now: float) -> None:
        if now - self._started > STEADY_S:
            self._failures = 0
        wait_s = RETRY_S[-1] if self._status in PERMANENT else RETRY_S[min(self._failures, len(RETRY_S) - 1)]
        self._failures += 1
        self._next_start = now + wait_s

    def _tell(self, status: str, message: str | None, rows: list[Gpu] | None = None) -> None:
        """A status once, until it changes."""
        if self._told != (status, message):
            self._told = (status, message)
            self._emit(GpuSample(t=time.time(), src="gpu", status=status, message=message, gpus=rows or []))


def mark_ours(processes: list[GpuProcess], ours: Container[int], nested: bool = NESTED) -> list[GpuProcess]:
    """The processes with `ours`: True, False, or None where the driver's pid means nothing in this pid namespace; and
    with the `name` of those that are not ours.

    In a container the driver may tell the pids of the host: then some of them do not exist here, and one that does
    is another process of the same number, so that nothing can be said of any of them.
    """
    known = [os.path.exists(f"/proc/{process['pid']}") for process in processes]
    foreign_pids = nested and not all(known)
    out = []
    for process, here in zip(processes, known, strict=True):
        mine = None if foreign_pids or not here else process["pid"] in ours
        row: GpuProcess = {**process, "ours": mine}
        if mine is False:
            row["name"] = _name_of(process["pid"])
        out.append(row)
    return out


def _name_of(pid: int | None) -> str | None:
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return None
