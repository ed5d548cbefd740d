"""What the screen may do to runs: stop, rerun, resize, look. A seam: tests put their own in its place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tfgpu_tui.runs import listing, pruning, rundir
from tfgpu_tui.runs.listing import RunSummary
from tfgpu_tui.runs.rundir import RunDir
from tfgpu_tui.supervisor import again, launch
from tfgpu_tui.supervisor.again import Again

if TYPE_CHECKING:
    from tfgpu_tui.trials.records import Group

PROFILED_STEPS = 5


class Begun(Protocol):
    """A conductor's process, which this one has started."""

    def poll(self) -> int | None: ...


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

    def try_settings(self, run: RunDir, budget_s: float) -> tuple[str, Begun]: ...

    def go_on_trying(self, group: Group) -> Begun: ...

    def stop_trying(self, group: Group) -> None: ...


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
        return listing.goes_on(run)

    def find(self, run_id: str) -> RunDir:
        return rundir.find(run_id)

    def runs(self) -> list[RunSummary]:
        return listing.list_runs()

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

    def try_settings(self, run: RunDir, budget_s: float) -> tuple[str, Begun]:
        """An experiment with this run's script, arguments, interpreter, settings and environment. A run that goes on is
        stopped after its batch, before the first trial."""
        from tfgpu_tui.trials import conduct, groups  # late: few ask for one

        meta = rundir.read_meta(run)
        _not_of_another(meta)
        again.check(launch.spec_again(meta, meta.knobs))
        group = groups.new(
            meta.argv, meta.cwd, meta.python, base=meta.knobs, budget_s=budget_s,
            after=run.id if listing.goes_on(run) else None,
        )  # fmt: skip
        return group.id, conduct.begin(group, _environment(meta.supervisor_pid))

    def go_on_trying(self, group: Group) -> Begun:
        from tfgpu_tui.trials import conduct

        return conduct.begin(group)

    def stop_trying(self, group: Group) -> None:
        from tfgpu_tui.trials import groups

        if not groups.stop(group):
            raise launch.ControlError(f"{group.id} does not go on here")


def _not_of_another(meta: rundir.Meta) -> None:
    """Raises launch.ControlError for a trial of an experiment that goes on: two would measure each other."""
    from tfgpu_tui.trials import groups

    try:
        group = groups.find((meta.trial or {}).get("group", ""))
    except groups.GroupNotFound:
        return
    if groups.goes_on(group):
        raise launch.ControlError(f"it is a trial of {group.id}, which goes on: tfgpu-tui attach {group.id}")


def _environment(supervisor: int | None) -> Mapping[str, str] | None:
    """Of the shell that the run was started from, as its supervisor has it; None (this process's own) where that is
    gone."""
    try:
        told = Path(f"/proc/{supervisor}/environ").read_bytes()
    except OSError:
        return None
    pairs = (os.fsdecode(word).partition("=") for word in told.split(b"\0") if b"=" in word)
    return {name: value for name, _, value in pairs} or None


ERRORS = (launch.ControlError, rundir.RunNotFound, rundir.StateDirError)
