"""What the screen may do to runs: stop, start again, resize, look. A seam: tests put their own in its place."""

from __future__ import annotations

from typing import Protocol

from tfgpu_tui import launch, rundir
from tfgpu_tui.rundir import RunDir, RunSummary

PROFILED_STEPS = 5


class Control(Protocol):
    """Raises `launch.ControlError`, `rundir.RunNotFound` or `rundir.StateDirError`, each a sentence for a person."""

    def stop(self, run: RunDir, stage: str) -> None: ...

    def start_again(self, run: RunDir, knobs: dict[str, str]) -> RunDir: ...

    def resize(self, run: RunDir, columns: int, rows: int) -> None: ...

    def is_running(self, run: RunDir) -> bool: ...

    def find(self, run_id: str) -> RunDir: ...

    def runs(self) -> list[RunSummary]: ...

    def delete(self, run: RunDir) -> None: ...

    def send_input(self, run: RunDir, text: str) -> None: ...

    def profile(self, run: RunDir) -> None: ...


class RealControl:
    """Talks to the run's supervisor over its socket: a local call that is answered at once or fails."""

    def stop(self, run: RunDir, stage: str) -> None:
        launch.stop(run, stage)

    def start_again(self, run: RunDir, knobs: dict[str, str]) -> RunDir:
        return launch.start(launch.rerun_spec(run, knobs))

    def resize(self, run: RunDir, columns: int, rows: int) -> None:
        launch.resize(run, columns, rows)

    def is_running(self, run: RunDir) -> bool:
        return rundir.is_running(rundir.read_meta(run))

    def find(self, run_id: str) -> RunDir:
        return rundir.find(run_id)

    def runs(self) -> list[RunSummary]:
        return rundir.list_runs()

    def delete(self, run: RunDir) -> None:
        try:
            rundir.delete(run)
        except rundir.NotDeleted as error:
            raise launch.ControlError(str(error)) from error

    def send_input(self, run: RunDir, text: str) -> None:
        launch.command(run, {"cmd": "input", "text": text})

    def profile(self, run: RunDir) -> None:
        launch.command(run, {"cmd": "profile", "steps": PROFILED_STEPS})


ERRORS = (launch.ControlError, rundir.RunNotFound, rundir.StateDirError)
