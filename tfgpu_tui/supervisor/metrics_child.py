"""The process that tells a run's metrics to Prometheus (`--metrics`): it reads the journal, as `exporter` does.

A server for others stays out of the process that looks after the training.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import tfgpu_tui
from tfgpu_tui.runs.rundir import RunDir
from tfgpu_tui.runs.search_path import own_python
from tfgpu_tui.terminal.lines import printable_lines

END_S = 3.0
"""To close what it listens on, and delete its file."""
MOST_WORDS = 300


class MetricsChild:
    """Started with the run, ended with it."""

    def __init__(self, run: RunDir, where: str | None, fault: Callable[[str, str], None]) -> None:
        self._run = run
        self._where = where
        self._fault = fault
        self._said: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pids(self) -> set[int]:
        """Of the process, where it is there."""
        return {self._process.pid} if self._process is not None else set()

    def start(self) -> None:
        """Nothing where no metrics were asked for."""
        if self._where is None:
            return
        package = Path(tfgpu_tui.__file__).parent
        try:
            self._said = tempfile.TemporaryFile()  # noqa: SIM115 (until close)
            self._process = subprocess.Popen(
                [*own_python(), str(package), "exporter", str(self._run.path), "--metrics", self._where],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._said,
                start_new_session=True,
            )
        except OSError as error:
            self._fault("metrics", f"the exporter can't be started: {error.strerror}")

    def look(self) -> None:
        """Says once where it ended before the run did."""
        if self._process is not None and self._process.poll() is not None:
            self._process = None
            lines = self._lines()
            why = lines[-1].removeprefix("tfgpu-tui: ") if lines else "it said nothing"
            self._fault("metrics", f"no metrics are told any more: {printable_lines(why)[:MOST_WORDS]}")

    def _lines(self) -> list[str]:
        """What it said on stderr."""
        assert self._said is not None
        self._said.seek(0)
        return self._said.read().decode(errors="replace").splitlines()

    def close(self) -> None:
        """Ends it, and waits until what it listened on is free again."""
        if self._said is not None:
            self._said.close()
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
