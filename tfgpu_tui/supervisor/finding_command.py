"""The caller's command that runs once for each new finding of a run (`--on-finding`): mail, chat, a ticket.

It gets the finding as JSON on stdin and runs in a session of its own, so that no signal of the training's reaches it
and none of its own reaches the training. What it prints goes to `on-finding.log` in the run's folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from tfgpu_tui.core.severity import SEVERITIES
from tfgpu_tui.diagnose import diagnose
from tfgpu_tui.diagnose.finding import Finding
from tfgpu_tui.report.report_json import finding_row
from tfgpu_tui.runs.rundir import Meta, RunDir
from tfgpu_tui.supervisor.record import Recorder

LIMIT_S = 30.0
"""After which a command and all of its session are killed."""
STANDS_S = 10.0
"""A finding of a run that goes on is told when it has stood so long: what comes and goes would be noise."""
POLL_S = 0.02
_OUR_OWN = ("TFGPU_TUI_STATE_DIR", "TFGPU_TUI_CONFIG")
"""Variables that a command needs where it calls the tool; the others would make it a part of the run."""


class _Running(NamedTuple):
    id: str
    process: subprocess.Popen[bytes]
    until: float


class FindingCommands:
    """One command at a time, in the order in which the findings came."""

    def __init__(self, run: RunDir, meta: Meta, recorder: Recorder) -> None:
        self._run = run
        self._meta = meta
        self._recorder = recorder
        state = recorder.state
        self._told = {known for known, since in state.standing.items() if state.now - since >= STANDS_S}
        """In the beginning those that a supervisor before this one has told."""
        self._waiting: deque[Finding] = deque()
        self._running: _Running | None = None

    @property
    def pids(self) -> set[int]:
        """Of the command that runs: no process of the script's."""
        return {self._running.process.pid} if self._running is not None else set()

    def tell(self, standing: Iterable[tuple[Finding, float]]) -> None:
        """Findings of a run that goes on, with the time since which each stands: which of them will be told."""
        now = self._recorder.state.now
        self._take(finding for finding, since in standing if now - since >= STANDS_S)

    def _take(self, findings: Iterable[Finding]) -> None:
        """Those that are new and severe enough."""
        if self._meta.on_finding is None:
            return
        for finding in findings:
            severe = SEVERITIES.index(finding.severity) <= SEVERITIES.index(self._meta.on_finding_severity)
            if severe and finding.id not in self._told:
                self._told.add(finding.id)
                self._waiting.append(finding)

    def look(self) -> None:
        """Takes leave of a command that ended, kills one that lasts too long, starts the next. Never blocks."""
        if self._running is not None:
            status = self._running.process.poll()
            if status is None and time.monotonic() < self._running.until:
                return
            self._leave(self._running, status)
        if self._waiting:
            self._start(self._waiting.popleft())

    def tell_last(self) -> None:
        """After the run's end, when its report is written: what is left, and what only the end shows, for at most as
        long as one command may take."""
        if self._meta.on_finding is None:
            return
        self._take(diagnose(self._recorder.state))
        until = time.monotonic() + LIMIT_S
        while self._waiting or self._running is not None:
            if time.monotonic() > until:
                self._say(f"{len(self._waiting)} findings were not told: the commands took too long")
                self._waiting.clear()
                if self._running is not None:
                    self._leave(self._running, None)
                return
            self.look()
            time.sleep(POLL_S)

    def _start(self, finding: Finding) -> None:
        command = self._meta.on_finding
        assert command is not None
        own = {"TFGPU_TUI_RUN": self._run.id, "TFGPU_TUI_FINDING": finding.id}
        env = {
            name: value for name, value in os.environ.items() if not name.startswith("TFGPU_TUI_") or name in _OUR_OWN
        }
        told = {
            "schema": 1,
            "run": self._run.id,
            "argv": self._meta.argv,
            "cwd": self._meta.cwd,
            **finding_row(finding),
        }
        try:
            with tempfile.TemporaryFile() as text, (self._run.path / "on-finding.log").open("ab") as log:
                text.write(json.dumps(told).encode())  # a file, for a pipe holds 64 KiB and the reader may sleep
                text.seek(0)
                process = subprocess.Popen(
                    ["/bin/sh", "-c", command],
                    stdin=text,
                    stdout=log,
                    stderr=log,
                    cwd=self._meta.cwd,
                    env={**env, **own},
                    start_new_session=True,
                )
        except OSError as error:
            self._say(f"the command for {finding.id} can't be started: {error.strerror}")
            return
        self._running = _Running(finding.id, process, time.monotonic() + LIMIT_S)

    def _leave(self, running: _Running, status: int | None) -> None:
        """What a command started and left behind ends with it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.process.pid, signal.SIGKILL)
        running.process.wait()
        self._running = None
        if status is None:
            self._say(f"the command for {running.id} was ended after {LIMIT_S:.0f} s")
        elif status != 0:
            how = f"exit status {status}" if status > 0 else f"signal {-status}"
            self._recorder.fault(
                "on-finding", f"the command for {running.id} ended with {how}; see {self._run.path}/on-finding.log"
            )

    def _say(self, message: str) -> None:
        """Into the journal, or where that is complete into supervisor.log."""
        if self._recorder.state.ended is None:
            self._recorder.fault("on-finding", message)
        else:
            self._recorder.note(f"on-finding: {message}")
