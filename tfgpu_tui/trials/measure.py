"""A trial's journal, read as it grows: its speed, what else is measured, and whether that is enough (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, log
from statistics import mean, stdev
from typing import NamedTuple

from tfgpu_tui.core import events as ev
from tfgpu_tui.core import units
from tfgpu_tui.core.run_words import PHASE_WORDS, end_words
from tfgpu_tui.core.state import STEADY_STEPS, RunState
from tfgpu_tui.diagnose import diagnose
from tfgpu_tui.diagnose.input_wait import gpu_busy
from tfgpu_tui.report.compare import MIN_STEADY_S, SMALLEST_CHANGE, Speed, speed_of
from tfgpu_tui.trials.decide import CROWDED
from tfgpu_tui.trials.records import Pace, Record, words

PRECISE = 0.015
"""Standard error of a step time, as a share of it, that more steps would hardly better: two runs differ by as much."""
LEAST_S = 3.0
"""Of steps after warm-up: short stretches hide what comes now and then."""
MOST_S = 20.0
"""Of steps after warm-up in one trial: how runs differ from each other is not seen by a longer one."""
BUSY_S = 8.0, 12.0
"""Both on a machine that other programs use. What they do in bursts of seconds is seen by a short trial whole or not at
all; and the time that long ones would take is better spent on one more trial."""
CLEAR = 4.0
"""Standard errors at which a difference needs no more steps."""
CALM_BLOCKS = 4
"""Stretches of a trial whose calm quarters say how sure that of the whole is."""
MOST_LOSSES = 40
FAILURES = ("memory.oom", "run.failed", "run.killed", "run.legacy_api", "xla.unsupported_op", "run.broken_environment",
            "run.multi_worker_keras3", "run.other_backend")  # fmt: skip
"""Findings that say why a script failed."""


class Window(NamedTuple):
    """Steps after warm-up."""

    ms: float
    wall_s: float
    first_pass: bool


class Watched:
    """What a trial's journal told so far."""

    def __init__(self) -> None:
        self.state = RunState()
        self._windows: list[Window] = []
        self._warm_s = 0.0
        self._losses: list[list[float]] = []
        self._phase: str | None = None
        self._given_s = 0.0
        self._others: list[float] = []
        """Percent of the CPUs that other programs used, at each sample between steps after warm-up."""

    def take(self, event: ev.Event) -> None:
        """One more event, in order."""
        self.state.take(event)
        if isinstance(event, ev.Steps) and event.phase == "train" and event.steps > 0:
            self._steps(event)
        elif isinstance(event, ev.HostSample) and self._windows:
            if event.cpu_percent is not None and event.tree_cpu_percent is not None and event.cores_percent:
                own = event.tree_cpu_percent / len(event.cores_percent)
                self._others.append(max(0.0, event.cpu_percent - own))
        elif isinstance(event, ev.Metrics) and event.phase == "train":
            self._loss(event.step, event.values)
        elif isinstance(event, ev.Epoch) and event.state == "end":
            self._loss(self.state.train.steps, event.metrics)

    def _steps(self, event: ev.Steps) -> None:
        if event.warmup:
            self._warm_s += event.wall_s
        elif not event.profiled:
            seen = event.epoch is not None
            self._windows.append(
                Window(event.wall_s / event.steps * 1e3, event.wall_s, seen and (event.fit, event.epoch) <= (1, 1))
            )

    def _loss(self, step: int, values: dict[str, float | str]) -> None:
        loss = values.get("loss")
        if isinstance(loss, (int, float)) and isfinite(loss) and len(self._losses) < MOST_LOSSES:
            self._losses.append([float(step), float(loss)])

    def decided(self, given_s: float) -> None:
        """The trial is ended now, after so many seconds: what comes after this is its end."""
        self._phase, self._given_s = self.state.phase, given_s

    @property
    def steady_s(self) -> float:
        """Seconds in steps after warm-up."""
        return sum(window.wall_s for window in self._windows)

    @property
    def others_cpu(self) -> float | None:
        """Percent of the machine's CPUs that other programs used in them; None where that was not sampled."""
        return round(mean(self._others), 1) if self._others else None

    def _step_ms(self) -> dict[str, list[float]]:
        """Of each window: in the first pass over the data, in those after it, and in all."""
        return {
            "first": [w.ms for w in self._windows if w.first_pass],
            "later": [w.ms for w in self._windows if not w.first_pass],
            "whole": [w.ms for w in self._windows],
        }

    def speeds(self) -> dict[str, Speed | None]:
        """Of the first pass over the data, of those after it, and of all steps."""
        return {name: speed_of(values) for name, values in self._step_ms().items()}

    def _steady(self) -> bool:
        return self.state.judged.steps >= STEADY_STEPS and self.steady_s >= MIN_STEADY_S

    def enough(self, reference_ms: float | None, left_s: float, most_s: float = MOST_S) -> bool:
        """Whether more steps would say no more: the step time is precise, or differs clearly from the `reference_ms`,
        or `most_s` of steps were measured, or the most that a trial may have. `left_s` is the rest of the trial's time:
        a second pass over the data is waited for where it comes within."""
        least_s, longest_s = BUSY_S if (self.others_cpu or 0.0) >= CROWDED else (LEAST_S, MOST_S)
        if not self._steady() or self.steady_s < min(least_s, most_s):
            return False
        speeds = self.speeds()
        speed = speeds["later"]
        if speed is None:
            speed = speeds["first"]
            if speed is None or self._pass_left_s(speed) < left_s:
                return False
        if self.steady_s >= min(most_s, longest_s):
            return True
        error = max(speed.error_ms / speed.median_ms, 1e-9)
        if error <= PRECISE:
            return True
        change = 0.0 if reference_ms is None else abs(log(reference_ms / speed.median_ms))
        return change - SMALLEST_CHANGE > CLEAR * max(error, PRECISE)

    def _pass_left_s(self, speed: Speed) -> float:
        """Seconds to the next pass over the data, and of enough of it; infinite where it can't be known."""
        planned, done = self.state.epoch_steps, self.state.step_in_epoch
        if planned is None or done is None:
            return float("inf")
        return max(0, planned - done) * speed.median_ms / 1e3 + LEAST_S

    def record(self, setting: dict[str, str], run: str, begun: float, wall_s: float, ended: str) -> Record:
        """What is kept of the trial."""
        state, told = self.state, self._step_ms()
        shares = state.judged.shares()
        peaks = [m.get("peak_bytes") for device, m in state.tf_memory.items() if "GPU" in device]
        failure = self._failure(ended)
        paces = {name: None if failure or not self._steady() else pace(values) for name, values in told.items()}
        return Record(
            setting=setting,
            run=run,
            begun=begun,
            wall_s=round(wall_s, 2),
            steps=state.judged.steps,
            first=paces["first"],
            later=paces["later"],
            whole=paces["whole"],
            start_s=_start_s(state),
            warm_s=round(self._warm_s, 3),
            wait=shares["input_wait"],
            host=shares["host"],
            gpu_busy=gpu_busy(state),
            others_cpu=self.others_cpu,
            memory_bytes=state.rss_peak_bytes,
            gpu_memory_bytes=max((peak for peak in peaks if peak is not None), default=None),
            losses=self._losses,
            loss_lost=state.loss_lost_at is not None,
            meaningless=state.metrics_meaningless,
            not_applied=not_applied(state, setting),
            failure=failure,
            ended=ended,
        )

    def _failure(self, ended: str) -> str | None:
        """Why the trial says nothing of its setting."""
        state = self.state
        known = {finding.id: finding.title for finding in diagnose(state)}
        why = next((known[name] for name in FAILURES if name in known), None)
        if why is not None and (ended == "script" or not self._steady()):
            return why
        if state.ended is not None and ended == "script" and (state.ended.exit_code or state.ended.signal):
            return end_words(state.ended)
        if self._steady() and self.speeds()["whole"] is not None:
            return None
        if ended == "stopped":
            return "stopped before it was measured"
        missing = f"; {state.dropped} events are missing in its journal" if state.dropped else ""
        return self._too_few(ended) + missing

    def _too_few(self, ended: str) -> str:
        steps = self.state.train.steps
        count = f"{steps} step" + ("" if steps == 1 else "s")
        if ended == "script" and steps:
            took = units.duration(self._warm_s + self.steady_s)
            enough = f"{STEADY_STEPS} steps and {MIN_STEADY_S:g} s of them after warm-up"
            return f"it ended after {count} ({took}): too few to measure, which takes {enough}"
        if ended == "script":
            return "it ended without a training step"
        if steps:
            return f"only {count} in the {self._given_s:.0f} s that it had: too few to measure"
        doing = PHASE_WORDS.get(self._phase or "", "still starting")
        return f"no training step in the {self._given_s:.0f} s that it had: {doing}"


def pace(values: Sequence[float]) -> Pace | None:
    """From the mean step times of a stretch's windows in ms, in order."""
    speed = speed_of(values)
    return None if speed is None else Pace(round(speed.median_ms, 5), round(speed.error_ms, 5), _calm(values))


def _calm(values: Sequence[float]) -> Pace | None:
    """Their lower quartile. What other programs do to a step only makes it longer, and they come and go: of a training
    on two CPUs beside ten other processes the medians of runs differed by 20 %, the lower quartiles by 6 %."""
    size = len(values) // CALM_BLOCKS
    if size < 2:
        return None
    blocks = [_quartile(values[i * size : (i + 1) * size]) for i in range(CALM_BLOCKS)]
    return Pace(round(_quartile(values), 5), round(stdev(blocks) / CALM_BLOCKS**0.5, 5))


def _quartile(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 4]


def _start_s(state: RunState) -> float | None:
    if state.first_step_t is None or state.started is None:
        return None
    return round(max(0.0, state.first_step_t - state.started), 2)


def not_applied(state: RunState, setting: dict[str, str]) -> str | None:
    """Why a setting was not in force, as it was read back; None where it was, or that is not known."""
    told = state.knobs_in_force
    if told is None:
        return None
    for name, value in setting.items():
        now = told.in_force.get(name)
        if now is not None and now != value and name not in ("library_path", "visible_devices", "threads"):
            note = told.notes.get(name) or f"{name} was {now} all the same"
            return f"{words({name: value})} had no effect: {note}"
    return None
