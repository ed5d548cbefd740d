"""What the screen may do to runs: stop, rerun, resize, look. A seam: tests put their own in its place."""

from __future__ import annotations

from typing import Protocol

from tfgpu_tui.runs import pruning, rundir
from tfgpu_tui.runs.rundir import RunDir, RunSummary
from tfgpu_tui.supervisor import again, launch
from tfgpu_tui.supervisor.again import Again

PROFILED_STEPS = 5


class Control(Protocol):
    """Raises `launch.ControlError`, `rundir.RunNotFound` or `rundir.StateDirError`, each a sentence for a person."""

    def stop(self, run: RunDir, stage: str) -> None: ...

    def rerun(self, run: RunDir, knobs: dict[str, str]) -> None: ...

    def start_again(self, run: RunDir, knobs: dict[str, str], confirmed: str | None = None) -> Again: ...

    def foreign_command(self, run: RunDir) -> str | None: ...

    def resize(self, run: RunDir, columns: int, rows: int) -> None: ...

    def is_running(self, run: RunDir) -> bool: ...

    def find(self, run_id: str) -> RunDir: ...

    def runs(self) -> list[RunSummary]: ...

    def delete(self, run: RunDir) -> None: ...

    def send_input(self, run: RunDir, text: str) -> None: ...

    def types_unseen(self, run: RunDir) -> bool: ...

    def profile(self, run: RunDir) -> None: ...


class RealControl:
    """Talks to the run's supervisor over its socket: a local call that is answered at once or fails."""

    def stop(self, run: RunDir, stage: str) -> None:
        launch.stop(run, stage)

    def rerun(self, run: RunDir, knobs: dict[str, str]) -> None:
        launch.rerun(run, knobs)

    def start_again(self, run: RunDir, knobs: dict[str, str], confirmed: str | None = None) -> Again:
        return again.start(run, knobs, confirmed)

    def foreign_command(self, run: RunDir) -> str | None:
        """What a rerun would start, and where, for a run that may be somebody else's; None for one of the run list."""
        return None if rundir.is_ours(run) else again.shell_command(rundir.read_meta(run))

    def resize(self, run: RunDir, columns: int, rows: int) -> None:
        launch.resize(run, columns, rows)

    def is_running(self, run: RunDir) -> bool:
        return rundir.goes_on(run)

    def find(self, run_id: str) -> RunDir:
        return rundir.find(run_id)

    def runs(self) -> list[RunSummary]:
        return rundir.list_runs()

    def delete(self, run: RunDir) -> None:
        try:
            pruning.delete(run)
        except pruning.NotDeleted as error:
            raise launch.ControlError(str(error)) from error

    def send_input(self, run: RunDir, text: str) -> None:
        launch.command(run, {"cmd": "input", "text": text})

    def types_unseen(self, run: RunDir) -> bool:
        return launch.types_unseen(run)

    def profile(self, run: RunDir) -> None:
        launch.command(run, {"cmd": "profile", "steps": PROFILED_STEPS})


ERRORS = (launch.ControlError, rundir.RunNotFound, rundir.StateDirError)
