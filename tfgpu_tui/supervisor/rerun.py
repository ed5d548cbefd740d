"""The rerun that is asked for while a run goes on: claimed once, whoever asks, and begun when the script has ended.

It belongs to the supervisor, which stops the run, and not to a screen, which may be gone by then. All that is known of
it is in the journal: every screen shows it from there, and the next supervisor takes it up.
"""

from __future__ import annotations

import os
import time
from typing import Any

from tfgpu_tui.core import knobs
from tfgpu_tui.core.events import Rerun
from tfgpu_tui.runs import rundir
from tfgpu_tui.runs.rundir import Meta, RunDir
from tfgpu_tui.supervisor import again, launch
from tfgpu_tui.supervisor.record import Recorder


class PendingRerun:
    """At most one; its state is `recorder.state.rerun`."""

    def __init__(self, meta: Meta, recorder: Recorder) -> None:
        self._meta = meta
        self._recorder = recorder

    @property
    def _asked(self) -> Rerun | None:
        found = self._recorder.state.rerun
        return found if found is not None and found.pending else None

    @property
    def begun(self) -> bool:
        """The new run may be under way."""
        found = self._recorder.state.rerun
        return found is not None and found.state == "begun"

    def ask(self, wanted: object) -> None:
        """Claims it; asking again for the same changes nothing. Raises ValueError where it could not start, or another
        one was claimed before."""
        asked = _checked(wanted)
        if self.begun or (self._asked is not None and self._asked.knobs != asked):
            raise ValueError("a rerun is already on its way")
        if self._asked is not None:
            return
        try:
            again.check(launch.spec_again(self._meta, asked))
        except launch.ControlError as error:
            raise ValueError(str(error)) from error
        self._tell("asked", asked)

    def take_back(self) -> bool:
        """False where there is none to take back."""
        asked = self._asked
        if asked is not None:
            self._tell("taken_back", asked.knobs)
        return asked is not None

    def begin(self, terminal: int | None) -> str | None:
        """Starts it, where one was asked for; `terminal` is that of the script that ended, whose size the new one gets.
        Returns the new run's id; None where none was started now. What goes wrong is in the journal."""
        asked = self._recorder.state.rerun
        if asked is None or asked.state not in ("asked", "begun"):
            return None
        try:
            run = self._made(asked, terminal)
            if launch.was_begun(run):  # by a supervisor before this one
                return None
            launch.begin(run)
        except Exception as error:  # whatever it is, this run still has to be concluded
            if not isinstance(error, (launch.ControlError, rundir.RunNotFound, rundir.StateDirError)):
                self._recorder.note_traceback()
            self._tell("failed", asked.knobs, error=str(error) or repr(error))
            return None
        return run.id

    def _made(self, asked: Rerun, terminal: int | None) -> RunDir:
        """The new run's folder. Its id is written down before anything is started: a rerun is never started twice."""
        if asked.id is not None:
            return RunDir(rundir.state_dir() / "runs" / asked.id)
        spec = launch.spec_again(self._meta, asked.knobs)
        again.check(spec)
        if terminal is not None:
            size = os.get_terminal_size(terminal)
            spec = spec._replace(columns=size.columns, rows=size.lines)
        run = launch.create(spec, "pty")
        self._tell("begun", asked.knobs, id=run.id)
        return run

    def _tell(self, state: str, asked: dict[str, str], **more: Any) -> None:
        self._recorder.record(Rerun(t=time.time(), src="child", state=state, knobs=asked, **more))


def _checked(wanted: object) -> dict[str, str]:
    if not isinstance(wanted, dict):
        raise ValueError("rerun needs knobs: an object of names and values")
    return knobs.parse(f"{name}={value}" for name, value in wanted.items())
