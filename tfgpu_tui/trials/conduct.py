"""Conducts an experiment: starts each trial as a headless run of its own, watches its journal, and ends it in time."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from tfgpu_tui.core import python_options
from tfgpu_tui.runs import files, listing, rundir
from tfgpu_tui.runs.journal import JournalReader
from tfgpu_tui.runs.rundir import RunDir
from tfgpu_tui.runs.search_path import own_python
from tfgpu_tui.supervisor import children, launch
from tfgpu_tui.trials import edits, groups, plan, schedule, writes
from tfgpu_tui.trials.measure import LEAST_S, MOST_S, Watched
from tfgpu_tui.trials.records import Current, Group, Record, words

LOOK_EVERY_S = 0.2
FIRST_PART = 0.5
"""Of the time, at most, for the first baseline: nothing is known of the script before it."""
LEAST_SHARE_S = 10.0
STAGES_S = (("batch", 12.0), ("interrupt", 6.0), ("terminate", 4.0), ("kill", 10.0))
"""How a trial that was measured is ended: so long after each stage the next one follows."""
END_S = 3.0
"""What a trial's end usually takes."""
LARGEST_SOURCE = 4 << 20
LAST_BYTES = 4096
LAST_WORDS = 200
FREED_S = 120.0
"""For the run before the trials to end; its own supervisor uses harder signals before that."""
ENTRY = Path(__file__).with_name("__main__.py")


class Experiment:
    """One experiment. `began` is called with each trial that begins (its setting and run), `ended` with each that
    ended; `may_write` with the files that the script writes. `group.budget_s` is the time for all trials."""

    def __init__(
        self,
        group: Group,
        began: Callable[[Group, dict[str, str], RunDir], None] = lambda group, setting, run: None,
        ended: Callable[[Group, Record], None] = lambda group, record: None,
        may_write: Callable[[list[str]], bool] = lambda files: False,
    ) -> None:
        self.group = group
        self._deadline = time.monotonic() + group.budget_s
        self._began, self._ended, self._may_write = began, ended, may_write
        self._stops = 0
        """How often the user asked to stop."""
        self._kept = False
        """Whether something of it is on the disk."""

    def stop(self) -> None:
        """Ends the trial that runs, and the experiment; a second time without patience."""
        self._stops += 1

    def conduct(self) -> Group:
        """Runs trials until all is known, the time is over, or the user stops. Where the disk takes no more, what is
        known is returned all the same. Raises rundir.StateDirError where it took nothing from the beginning."""
        self._keep(ended=None, unkept=None, conductor=groups.me(), until=time.time() + self.group.budget_s)
        if self.group.after is not None:
            self._free_the_machine(self.group.after)
        while (why := self._over()) is None:
            setting = schedule.following(self.group)
            assert setting is not None
            before = self._look() if self.group.plan is None else None
            try:
                record, watched = self._trial(setting)
            except rundir.StateDirError as error:
                self._disk_refused(error)
                continue
            # Of a trial whose journal the disk did not take, or that was stopped, it is not known why it tells nothing.
            if record.measured or (record.ended != "stopped" and self.group.unkept is None):
                self._keep(records=[*self.group.records, record], now=None)
                self._ended(self.group, record)
            if not setting and record.measured and self.group.plan is None:
                self._plan(watched, before)
        self._keep(ended=why, now=None, left_s=round(max(0.0, self._deadline - time.monotonic()), 1))
        return self.group

    def _free_the_machine(self, run_id: str) -> None:
        """Ends the run that goes on: trials are measured one at a time."""
        run, until = RunDir(rundir.runs_dir() / run_id), time.monotonic() + FREED_S
        with contextlib.suppress(launch.ControlError):  # it just ended
            launch.stop(run, "batch")
        with contextlib.suppress(rundir.RunNotFound):
            while listing.goes_on(run) and not self._stops:
                if time.monotonic() > until:
                    return
                time.sleep(LOOK_EVERY_S)
        self._deadline = time.monotonic() + self.group.budget_s
        self._keep(after=None, until=time.time() + self.group.budget_s)

    def _over(self) -> str | None:
        """Why no trial follows; None where one does."""
        if self._stops:
            return "stopped"
        if self.group.unkept is not None:
            return "unkept"
        if self.group.after is not None:
            return "occupied"
        if self.group.plan is not None and not self.group.may_write:
            if not self._may_write(self.group.wrote):
                return "refused"
            self._keep(may_write=True)
        if schedule.following(self.group) is None:
            return "untriable" if schedule.untriable(self.group) else "done"
        if self.group.records and self._deadline - time.monotonic() < self._cost_s():
            return "budget"
        return None

    def _cost_s(self) -> float:
        """Seconds that a trial needs at the least: up to its first step, and enough of them."""
        base = schedule.reference(self.group)
        return LEAST_SHARE_S if base is None else (base.start_s or 0.0) + 2 * LEAST_S

    def _keep(self, **changes: object) -> None:
        self.group = replace(self.group, **changes)  # type: ignore[arg-type]
        try:
            groups.save(self.group)
        except rundir.StateDirError as error:
            self._disk_refused(error)
        else:
            self._kept = True

    def _disk_refused(self, error: rundir.StateDirError) -> None:
        """Raises it again where nothing is known that could be lost."""
        if not self._kept:
            raise error
        self.group = replace(self.group, unkept=str(error), now=None)

    # -- what the script writes

    def _folders(self) -> list[str]:
        """The script's folder, and the one it runs in."""
        script = self._script()
        found = [os.path.dirname(script) if script else self.group.cwd, self.group.cwd]
        return [f for f in dict.fromkeys(found) if not any(o != f and _below(f, o) for o in found)]

    def _script(self) -> str | None:
        words_ = python_options.without_options(self.group.argv)
        path = os.path.join(self.group.cwd, words_[0])
        return os.path.abspath(path) if os.path.exists(path) else None

    def _look(self) -> writes.Look | None:
        try:
            return {k: v for f in self._folders() for k, v in writes.look(f, rundir.state_dir()).items()}
        except writes.TooMany:
            return None

    def _plan(self, watched: Watched, before: writes.Look | None) -> None:
        after = self._look() if before is not None else None
        wrote = (
            ["(not known: the folder holds too many files)"]
            if before is None or after is None
            else writes.changed(before, after)
        )
        sources = {file: text for file in edits.files(watched.state, self._script()) if (text := _source(file))}
        self._keep(
            plan=plan.plan(watched.state, self.group.base, self.group.asked),
            places=edits.places(watched.state, sources),
            wrote=wrote,
            may_write=self.group.may_write or not wrote,
        )

    # -- one trial

    def _trial(self, setting: dict[str, str]) -> tuple[Record, Watched]:
        group, begun = self.group, time.time()
        spec = launch.LaunchSpec(
            argv=group.argv,
            cwd=group.cwd,
            python=group.python,
            knobs={**group.base, **setting},
            stop_after=group.steps,
            trial={"group": group.id, "setting": words(setting)},
        )
        run = launch.create(spec, "headless")
        try:
            process = _start(run, group.cwd)
        except rundir.StateDirError:
            launch.discard(run)
            raise
        self._keep(now=Current(setting, run.id, begun))
        self._began(group, setting, run)
        watched, at = Watched(), time.monotonic()
        try:
            with JournalReader(run.journal) as reader:
                why = self._watch(process, reader, watched, at)
                watched.decided(time.monotonic() - at)
                _end(process, run, reader, watched, lambda: self._stops > 1)
        finally:
            _kill(process)
        record = watched.record(setting, run.id, begun, time.monotonic() - at, why)
        if record.failure is not None and why == "script" and watched.state.error is None:
            record = replace(record, last_line=_last_line(run))
        self._keep(spent_s=round(group.spent_s + record.wall_s, 2))
        return record, watched

    def _watch(self, process: subprocess.Popen[bytes], reader: JournalReader, watched: Watched, at: float) -> str:
        """Until enough is measured; why it ends."""
        until, fair_until = at + self._share_s(), at + (self._deadline - at) / schedule.to_proof(self.group)
        base = schedule.reference(self.group)
        while True:
            over = process.poll() is not None
            _read(reader, watched)
            now = time.monotonic()
            if self._stops:
                return "stopped"
            if over:
                return "script"
            if self.group.unkept is not None:
                return "unkept"
            pace = base and base.shown
            # Beyond its part of the time, what was measured has to do: a gain has to be repeated before that is over.
            most_s = MOST_S if now < fair_until - END_S else LEAST_S
            if watched.enough(pace.ms if pace else None, min(until, fair_until) - now, most_s):
                return "enough"
            if now >= until:
                return "share"
            time.sleep(LOOK_EVERY_S)

    def _share_s(self) -> float:
        """The trial's part of what is left of the time."""
        rest = self._deadline - time.monotonic()
        if not self.group.records:
            return max(LEAST_SHARE_S, rest * FIRST_PART)
        base = schedule.reference(self.group)
        usual = base.wall_s if base else 0.0
        return min(max(rest, 0.0), max(LEAST_SHARE_S, 1.5 * usual, rest / schedule.left(self.group)))


def _below(folder: str, other: str) -> bool:
    return Path(other) in Path(folder).parents


def _source(file: str) -> str | None:
    try:
        return files.read_bounded(file, LARGEST_SOURCE).decode(errors="replace")
    except OSError:
        return None


def begin(group: Group, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Starts the process that conducts an experiment, in a session of its own: it goes on where this one ends. Nobody
    can be asked there: where the script writes files it ends as `refused`, unless that was agreed to. Raises
    rundir.StateDirError."""
    group = replace(group, ended=None, now=None, conductor=None, until=time.time() + group.budget_s)
    groups.save(group)
    try:
        with groups.log_of(group.id).open("ab") as log:
            return subprocess.Popen(
                [*own_python(), str(ENTRY), "conduct", group.id],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=group.cwd,
                env=env,
                start_new_session=True,
            )
    except OSError as error:
        raise rundir.StateDirError(f"the experiment can't be started: {error.strerror}") from error


def _start(run: RunDir, cwd: str) -> subprocess.Popen[bytes]:
    """A headless run in a process and session of its own: what is typed here is not meant for the script. Raises
    rundir.StateDirError."""
    try:
        with run.output_log.open("ab") as log:
            return subprocess.Popen(
                [*own_python(), str(ENTRY), "trial", str(run.path), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=cwd,
                start_new_session=True,
            )
    except OSError as error:
        raise rundir.StateDirError(f"a trial can't be started: {error.strerror}") from error


def _read(reader: JournalReader, watched: Watched) -> None:
    with contextlib.suppress(OSError):  # not there yet
        for event in reader:
            watched.take(event)


def _end(
    process: subprocess.Popen[bytes], run: RunDir, reader: JournalReader, watched: Watched, hurry: Callable[[], bool]
) -> None:
    """Ends what still runs, stage by stage, and reads the rest of the journal."""
    for stage, grace_s in STAGES_S:
        until, heard = time.monotonic() + grace_s, False
        while process.poll() is None and time.monotonic() < until and not (hurry() and stage != "kill"):
            heard = heard or _hears(run, stage)
            _read(reader, watched)
            time.sleep(LOOK_EVERY_S)
    _read(reader, watched)


def _hears(run: RunDir, stage: str) -> bool:
    """Asks a run to end; False where it does not listen yet, or has just ended."""
    try:
        launch.stop(run, stage)
    except launch.ControlError:
        return False
    return True


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Of a trial whose monitor does not end as it was asked to: that, and all that it has started."""
    if process.poll() is None:
        left = children.left_behind(process.pid, set())
        process.kill()
        process.wait()
        children.signal_all(left, signal.SIGKILL)


def _last_line(run: RunDir) -> str | None:
    """The last words of the script's output: where no exception was seen, they may say why it failed."""
    try:
        with open(files.open_regular(run.output_log), "rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - LAST_BYTES))
            lines = log.read(LAST_BYTES).decode(errors="replace").splitlines()
    except OSError:
        return None
    return next((line.strip()[:LAST_WORDS] for line in reversed(lines) if line.strip()), None)
