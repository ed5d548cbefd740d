"""The parent's side of the GPU sampler: a deadline on every answer, and a new child after a failure, never blocking."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any

from tfgpu_tui.events import GpuSample

CHILD = Path(__file__).parent / "nvml_child.py"
INIT_DEADLINE_S = 10.0
"""nvmlInit takes seconds where the driver is not kept loaded (no persistence mode)."""
ANSWER_DEADLINE_S = 3.0
"""On top of the sampling period."""
RETRY_S = (1.0, 2.0, 5.0, 15.0, 60.0)
"""Waits before a new child, by the number of failures in a row."""
STEADY_S = 30.0
"""A child that lived so long was no failure: the next wait is the shortest again."""
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
    ) -> None:
        """`ours()` are the pids of the run; `command` replaces the child (tests)."""
        self._emit = emit
        self._ours = ours
        self._command = command or [sys.executable, str(CHILD), str(interval_s)]
        self._init_deadline_s = init_deadline_s
        self._answer_deadline_s = interval_s + answer_deadline_s
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = b""
        self._deadline = 0.0
        self._started = 0.0
        self._next_start = 0.0
        self._failures = 0
        self._told: tuple[str, str | None] | None = None
        self._status: str | None = None
        """What the present child said of itself before it ended."""
        self._hung = False

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
            self._hung = True
            waited_s = self._answer_deadline_s if self._status == "ok" else self._init_deadline_s
            self._tell("hung", f"the NVIDIA driver has not answered for {waited_s:.0f} s; trying again when it lets go")
            # In uninterruptible sleep it dies only when the driver lets go: until then there is no second child.
            self._process.kill()

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
                self._command,
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
        self._buffer, self._status, self._hung = b"", None, False
        self._started, self._deadline = now, now + self._init_deadline_s
        asyncio.get_running_loop().add_reader(descriptor, self._read, descriptor)

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
        if "status" not in message:
            return
        self._status = message["status"]
        if self._status != "ok":
            self._tell(message["status"], message.get("message"))
            return
        self._deadline = time.monotonic() + self._answer_deadline_s
        self._told = None
        self._emit(GpuSample(t=time.time(), src="gpu", gpus=[self._own(gpu) for gpu in message["gpus"]]))

    def _own(self, gpu: dict[str, Any]) -> dict[str, Any]:
        """Marks our processes: True or False, or None where the driver's pid means nothing in this pid namespace."""
        if not gpu.get("processes"):
            return gpu
        ours = self._ours()
        marked = []
        for process in gpu["processes"]:
            pid = process["pid"]
            known = True if pid in ours else (False if os.path.exists(f"/proc/{pid}") else None)
            marked.append({**process, "ours": known})
        return {**gpu, "processes": marked}

    def _ended(self, code: int, now: float) -> None:
        self._forget_output()
        self._process = None
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

    def _tell(self, status: str, message: str | None) -> None:
        """A status once, until it changes."""
        if self._told != (status, message):
            self._told = (status, message)
            self._emit(GpuSample(t=time.time(), src="gpu", status=status, message=message))
