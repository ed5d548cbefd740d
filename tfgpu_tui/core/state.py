"""What is known of a run: live, attach, replay, report and compare fold the same journal into a RunState (pure)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import field, replace
from heapq import merge
from typing import Any, Generic, TypeVar, overload

from tfgpu_tui.core import events as ev
from tfgpu_tui.core import rows
from tfgpu_tui.core.parts import devices, lifecycle, machine, record, standstill
from tfgpu_tui.core.parts.devices import Devices
from tfgpu_tui.core.parts.lifecycle import Lifecycle
from tfgpu_tui.core.parts.machine import Machine
from tfgpu_tui.core.parts.process import HANDLERS as OF_PROCESS
from tfgpu_tui.core.parts.process import Process
from tfgpu_tui.core.parts.processes import STEADY_STEPS, Processes
from tfgpu_tui.core.parts.record import Record
from tfgpu_tui.core.parts.standstill import STALL_STEPS, Standstill
from tfgpu_tui.core.places import Places, of_run
from tfgpu_tui.core.quick import dataclass
from tfgpu_tui.core.run_words import PHASE_WORDS, STOP_SIGNALS, STOP_WORDS, end_words
from tfgpu_tui.core.series import Series
from tfgpu_tui.core.totals import Mark, StepTotals
from tfgpu_tui.core.units import duration

__all__ = ["STEADY_STEPS", "RunState", "fold"]

T = TypeVar("T")


class _Of(Generic[T]):
    """A fact of one of the parts, under the name by which readers ask the state for it."""

    def __init__(self, read: Callable[[RunState], T]) -> None:
        self._read = read

    @overload
    def __get__(self, state: None, owner: type) -> _Of[T]: ...
    @overload
    def __get__(self, state: RunState, owner: type) -> T: ...
    def __get__(self, state: RunState | None, owner: type) -> _Of[T] | T:
        return self if state is None else self._read(state)

    def __set__(self, state: RunState, value: T) -> None:
        raise AttributeError("a RunState is changed by events alone")


@dataclass
class RunState:
    """Everything that a screen, a report or a verdict needs to know about one run.

    What a training process tells has its words here, too: they are those of the process whose numbers stand for the run
    (`described`), or of the one that the state was asked `of`.
    """

    now: float = 0.0
    """Time of the newest event."""
    environment: ev.Environment = field(default_factory=lambda: ev.Environment(t=0.0))
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    training: Processes = field(default_factory=Processes)
    devices: Devices = field(default_factory=Devices)
    machine: Machine = field(default_factory=Machine)
    record: Record = field(default_factory=Record)
    standstill: Standstill = field(default_factory=Standstill)
    _focus: Process | None = field(default=None, init=False, repr=False, compare=False)
    """The process that this is the state of; None for the run's own."""

    def apply(self, event: ev.Event) -> None:
        """Folds one event in. Events of types without a handler change nothing but the time."""
        self.now = max(self.now, event.t)
        kind = type(event)
        if kind in OF_PROCESS:
            if (
                self.standstill.suspended
                and isinstance(event, ev.Steps)
                and standstill.was_held(self.standstill, event)
            ):
                event = replace(event, profiled=True)  # shown, and not judged, as what ran under the profiler
            self.training.take(event)
        handler = HANDLERS.get(kind)
        if handler is not None:
            handler(self, event)

    def take(self, event: ev.Event) -> bool:
        """As `apply`, for a reader of a journal that anybody may have written; False where the event, though of the
        right form, is nonsense to the reducer, and changed little or nothing."""
        try:
            self.apply(event)
        except (ArithmeticError, LookupError, TypeError, ValueError):
            return False
        return True

    # By process.

    @property
    def processes(self) -> dict[int | None, Process]:
        """Those that told anything, by pid; None stands for those beyond `processes.LIMIT`, summed."""
        return self.training.by_pid()

    @property
    def serves(self) -> bool:
        """Whether all of its processes are servers: none of them trains, on purpose."""
        return bool(self.processes) and all(process.serves for process in self.processes.values())

    @property
    def described(self) -> Process:
        """The process whose numbers stand for the run: the only one, the slowest of a synchronous job, or the sum of
        those that train apart."""
        return self._focus or self.training.described()

    @property
    def _place(self) -> Process:
        """The process whose epoch stands for the run."""
        return self._focus or self.training.farthest()

    def of(self, process: Process) -> RunState:
        """The same run as this process tells it: what is asked of that is its own. It shares all parts."""
        view = copy.copy(self)
        view._focus = process
        return view

    @property
    def one_of_several(self) -> bool:
        """Whether it is the state of one of several processes that train."""
        return self._focus is not None and len(self.training.training()) > 1

    def together(self) -> RunState:
        """The same run as all its processes tell it, summed."""
        return self.of(self.training.together)

    # Of the run.

    run = _Of(lambda s: s.lifecycle.run)
    ended = _Of(lambda s: s.lifecycle.ended)
    child_pid = _Of(lambda s: s.lifecycle.child_pid)
    agent_pids = _Of(lambda s: s.lifecycle.agent_pids)
    phase = _Of(lambda s: s.lifecycle.phase)
    exiting_t = _Of(lambda s: s.lifecycle.exiting_t)
    ends_with = _Of(lambda s: s.lifecycle.ends_with)
    error = _Of(lambda s: s.lifecycle.error)
    child_errors = _Of(lambda s: s.lifecycle.child_errors)
    child_ends = _Of(lambda s: s.lifecycle.child_ends)
    stopping = _Of(lambda s: s.lifecycle.stopping)
    stop_stage = _Of(lambda s: s.lifecycle.stop_stage)
    interpreter_signalled = _Of(lambda s: s.lifecycle.interpreter_signalled)
    stopped_early = _Of(lambda s: s.lifecycle.stopped_early)
    rerun = _Of(lambda s: s.lifecycle.rerun)
    standing = _Of(lambda s: s.lifecycle.standing)
    standing_severity = _Of(lambda s: s.lifecycle.severity)
    gpu_status = _Of(lambda s: s.devices.gpu_status)
    gpu_read_ms = _Of(lambda s: s.devices.gpu_read_ms)
    preflight = _Of(lambda s: s.devices.preflight)
    diagnostics = _Of(lambda s: s.devices.diagnostics)
    gpus = _Of(lambda s: s.devices.gpus)
    out_of_memory = _Of(lambda s: s.devices.out_of_memory)
    out_of_memory_count = _Of(lambda s: s.devices.out_of_memory_count)
    host = _Of(lambda s: s.machine.host)
    rss_peak_bytes = _Of(lambda s: s.machine.rss_peak_bytes)
    rss_by_step = _Of(lambda s: s.machine.rss_by_step)
    read_files = _Of(lambda s: s.machine.read_files)
    children_by_step = _Of(lambda s: s.machine.children_by_step)
    log_bytes = _Of(lambda s: s.record.log_bytes)
    log_capped = _Of(lambda s: s.record.log_capped)
    hooks_off = _Of(lambda s: s.record.hooks_off)
    faults = _Of(lambda s: s.record.faults)
    dropped = _Of(lambda s: s.record.dropped)

    # Of the process that is described.

    loop = _Of(lambda s: s.described.steps.loop)
    totals = _Of(lambda s: s.described.steps.totals)
    recent = _Of(lambda s: s.described.steps.recent)
    window_ms = _Of(lambda s: s.described.steps.window_ms)
    slowest_steps = _Of(lambda s: s.described.steps.slowest_steps)
    fits = _Of(lambda s: s.described.steps.fits)
    first_step_t = _Of(lambda s: s.described.steps.first_step_t)
    last_step_t = _Of(lambda s: s.described.steps.last_step_t)
    epoch = _Of(lambda s: s._place.epochs.epoch)
    epochs = _Of(lambda s: s._place.epochs.epochs)
    epoch_steps = _Of(lambda s: s._place.epochs.epoch_steps)
    step_in_epoch = _Of(lambda s: s._place.step_in_epoch)
    epochs_done = _Of(lambda s: s.described.epochs.epochs_done)
    first_wait_s = _Of(lambda s: s.described.epochs.first_wait_s)
    edge_s = _Of(lambda s: s.described.epochs.edge_s)
    validation_s = _Of(lambda s: s.described.epochs.validation_s)
    epoch_callbacks = _Of(lambda s: s.described.epochs.epoch_callbacks)
    history = _Of(lambda s: s.described.epochs.history)
    loss_finite_at = _Of(lambda s: s.described.epochs.loss_finite_at)
    loss_lost_at = _Of(lambda s: s.described.epochs.loss_lost_at)
    metrics = _Of(lambda s: s.described.epochs.metrics)
    metric_series = _Of(lambda s: s.described.epochs.metric_series)
    retraces = _Of(lambda s: s.described.calls.retraces)
    fit_calls = _Of(lambda s: s.described.calls.fit_calls)
    first_fit = _Of(lambda s: s.described.calls.first_fit)
    predict_calls = _Of(lambda s: s.described.calls.predict_calls)
    last_call_t = _Of(lambda s: s.described.calls.last_call_t)
    debug_switches = _Of(lambda s: s.described.calls.debug_switches)
    script_lines = _Of(lambda s: s.described.calls.script_lines)
    dataset = _Of(lambda s: _dataset(s.described))
    batch_size = _Of(lambda s: _batch_size(s.described))
    pipeline = _Of(lambda s: s.described.feed.pipeline)
    model = _Of(lambda s: s.described.layers.model)
    placement = _Of(lambda s: s.described.layers.placement)
    layer_times = _Of(lambda s: s.described.layers.layer_times)
    unrolled = _Of(lambda s: s.described.layers.unrolled)
    graph_python = _Of(lambda s: s.described.layers.graph_python)
    member = _Of(lambda s: s.described.member)
    optimizers = _Of(lambda s: s.described.layers.optimizers)
    knobs_in_force = _Of(lambda s: s.described.layers.knobs_in_force)
    tf_memory = _Of(lambda s: s.described.memory.tf_memory)
    tf_memory_series = _Of(lambda s: s.described.memory.tf_memory_series)
    tf_memory_by_step = _Of(lambda s: s.described.memory.tf_memory_by_step)
    tf_peak_by_step = _Of(lambda s: s.described.memory.tf_peak_by_step)
    process_memory = _Of(lambda s: s.described.memory.process_memory)
    trainings = _Of(lambda s: s.described.memory.trainings)
    growth_causes = _Of(lambda s: s.described.memory.growth_causes)
    array_copies = _Of(lambda s: s.described.memory.array_copies)
    agent_cost = _Of(lambda s: s.described.agent_cost)

    @property
    def series(self) -> dict[str, Series]:
        """Of the described process' steps, and of the machine."""
        return {**self.described.steps.step_series, **self.machine.host_series}

    @property
    def marks(self) -> list[Mark]:
        """What happened, by time."""
        return list(merge(self.record.run_marks, self.described.marks, key=lambda mark: mark.t))

    # What several readers ask for.

    @property
    def metrics_meaningless(self) -> str | None:
        """Why this run's losses and metrics mean nothing; None where they do mean something."""
        if self.run is None or self.run.knobs.get("input") != "synthetic":
            return None
        in_force = self.knobs_in_force.in_force.get("input") if self.knobs_in_force else None
        return None if in_force == "script" else "the model sees the first batch again and again (input=synthetic)"

    @property
    def train(self) -> StepTotals:
        """All training steps, warm-up included."""
        return self.described.steps.train

    @property
    def judged(self) -> StepTotals:
        """Training steps after warm-up."""
        return self.described.steps.judged

    @property
    def stall_limit_s(self) -> float | None:
        """Without a step for so long it is asked whether the training stands still; None where that is off."""
        least_s = self.run.stall_after_s if self.run is not None else 0.0
        return max(least_s, STALL_STEPS * (self.judged.percentile_s(0.95) or 0.0)) if least_s > 0 else None

    @property
    def running(self) -> bool:
        """No end was written (yet)."""
        return self.ended is None

    @property
    def stop_reason(self) -> str | None:
        """Why the run was asked to end: `user`, `rerun`, `stop-after`, …; None where nobody asked."""
        reason = self.stopped_early if self.stopping is None else self.stopping.reason.partition(":")[0]
        taken_back = self.rerun is not None and self.rerun.state == "taken_back"
        return "user" if reason == "rerun" and taken_back else reason  # what is left of it is a stop

    def stopped(self, exit_code: int | None, signal: int | None) -> str | None:
        """The reason of the stop, where that is why a script ended like this; None where it failed by itself, or
        something else ended it."""
        if signal is not None:
            sent = self.stop_stage in STOP_SIGNALS and signal in STOP_SIGNALS.values()
            # A loop of one's own is stopped by a KeyboardInterrupt, which Python passes on as SIGINT.
            return self.stop_reason if sent or signal == STOP_SIGNALS["interrupt"] else None
        failed = self.error is not None and self.error.exception != "KeyboardInterrupt"
        return None if exit_code and failed else self.stop_reason

    def closed_by(self, signal: int | None) -> int | None:
        """The signal, where we ended with it an interpreter whose script was over; else None."""
        return signal if self.interpreter_signalled and signal in STOP_SIGNALS.values() else None

    @property
    def started(self) -> float | None:
        """When the run began."""
        return self.run.t if self.run else None

    @property
    def places(self) -> Places:
        """The words for where a line of its script lies."""
        return Places() if self.run is None else of_run(self.run.cwd, self.run.argv)

    @property
    def wall_s(self) -> float | None:
        """Seconds since the run began, up to its end."""
        return None if self.run is None else max(0.0, self.now - self.run.t)

    @property
    def oom_kills(self) -> int | None:
        """Processes that the kernel's out-of-memory killer ended during the run; None where it is not counted."""
        now, before = self.host.oom_kills if self.host else None, self.machine.oom_kills_before
        return None if now is None or before is None else now - before

    def current(self) -> StepTotals:
        """The last seconds of training: the speed right now. All steady steps where there are none, and once the run
        has ended."""
        return self.described.steps.current(self.running)

    def examples_per_s(self, totals: StepTotals) -> float | None:
        """Examples through the optimiser per second of step time, over the windows whose examples are known, which
        have to be half of the time. Where none is, the dataset's batch size stands for all, and also under
        tf.distribute, where the steps show the part of one replica; None without one."""
        if totals.examples and totals.sized_s and not self.described.feed.spread:
            return totals.examples / totals.sized_s if totals.sized_s >= 0.5 * totals.wall_s else None
        return self.batch_size / totals.mean_s if self.batch_size and totals.mean_s else None

    def layer_ms(self, row: rows.Layer) -> float | None:
        """Milliseconds a step in a placement row's ops, forward and backward, as profiled; None where it was not."""
        times = self.layer_times.layers.get(str(row.get("layer"))) if self.layer_times else None
        return None if times is None else round(sum(times.values()), 4)

    @property
    def counted(self) -> str:
        """What is counted as a step: `call` of a function that holds many updates of the weights, `step` else."""
        held = any((loop.updates or 0) > 1 for loop in self.unrolled.values())
        return "call" if held and self.loop == "custom" else "step"

    def compute_parts(self) -> dict[str, float]:
        """Part of compute (`events.LayerTimes.parts`) -> its share of it, the greatest first; empty where compute was
        not looked into. They sum to 1."""
        parts = self.layer_times.parts if self.layer_times else {}
        whole = sum(parts.values())
        return {name: ms / whole for name, ms in sorted(parts.items(), key=lambda kv: -kv[1])} if whole > 0 else {}

    def eta_s(self) -> float | None:
        """Seconds to the end of this fit at the speed so far, epoch edges included; None where the end is unknown."""
        return self._place.eta_s() if self.running else None

    @property
    def not_started(self) -> str | None:
        """Why the script's interpreter could not be started, where that is so."""
        if self.child_pid is not None:
            return None
        return next((fault.message for fault in self.faults if fault.part == "script"), None)

    def activity(self) -> str:
        """What the run is doing, in words for the status line."""
        if self.not_started is not None:
            return "never started"
        if self.ended is not None:
            return end_words(self.ended, self.stopped_early)
        if self.stopping is not None:
            return STOP_WORDS.get(self.stopping.stage, "stopping")
        if self.train.steps and self.judged.steps < STEADY_STEPS and self.phase in (None, "training", "tracing"):
            return f"warming up: {self.judged.steps} of {STEADY_STEPS} steps"
        if self.phase is not None:
            role = f"{self.member.role}: " if self.serves and self.member and self.member.role else ""
            return role + PHASE_WORDS.get(self.phase, self.phase)
        if self.agent_pids:
            return "running, TensorFlow not imported yet"
        return "starting" if self.child_pid is None else "running"


def _dataset(process: Process) -> ev.Dataset | None:
    """What it trained on; where it did not train (yet), what it tested or predicted."""
    told = process.feed.dataset
    return None if told is not None and told.phase != "train" and process.trains else told


def _batch_size(process: Process) -> int | None:
    told = _dataset(process)
    return process.feed.batch_size or (told.batch_size if told is not None else None)


def _run_started(s: RunState, e: ev.RunStarted) -> None:
    s.lifecycle.run = e
    if e.knobs:
        settings = ", ".join(f"{name}={value}" for name, value in e.knobs.items())
        s.record.run_marks.append(Mark(e.t, "knob", settings))


def _run_ended(s: RunState, e: ev.RunEnded) -> None:
    s.lifecycle.ended = e
    s.record.run_marks.append(Mark(e.t, "end", end_words(e, s.stopped_early)))


def _child_started(s: RunState, e: ev.ChildStarted) -> None:
    s.lifecycle.child_pid = e.pid


def _environment(s: RunState, e: ev.Environment) -> None:
    known = {k: v for k, v in vars(e).items() if v is not None}
    s.environment = replace(s.environment, **known)
    devices.listed(s.devices, e)


def _gpu_sample(s: RunState, e: ev.GpuSample) -> None:
    ours = {str(g["uuid"]) for g in s.environment.tf_gpus or () if g.get("uuid")}
    devices.gpu_sample(s.devices, e, ours)


def _out_of_memory(s: RunState, e: ev.OutOfMemory) -> None:
    devices.out_of_memory(s.devices, e)
    s.record.run_marks.append(Mark(e.t, "out of memory", f"out of memory on {e.device or 'a device'}"))


def _standstill(s: RunState, e: ev.Standstill) -> None:
    standstill.look(s.standstill, e)
    if e.over and e.stood:
        s.record.run_marks.append(Mark(e.t, "stall", f"stood still for {duration(e.quiet_s)}"))


def _read_files(s: RunState, e: ev.ReadFiles) -> None:
    s.machine.read_files = e


def _host_sample(s: RunState, e: ev.HostSample) -> None:
    trains = s.phase == "training" and s.judged.steps
    machine.host_sample(s.machine, e, s.environment.cpus, s.train.steps if trains else None)


HANDLERS: dict[type[ev.Event], Callable[[RunState, Any], None]] = {
    ev.RunStarted: _run_started,
    ev.RunEnded: _run_ended,
    ev.ChildStarted: _child_started,
    ev.AgentConnected: lambda s, e: lifecycle.agent_connected(s.lifecycle, e),
    ev.Phase: lambda s, e: lifecycle.phase(s.lifecycle, e),
    ev.TrainEnd: lambda s, e: lifecycle.train_end(s.lifecycle, e),
    ev.ScriptError: lambda s, e: lifecycle.script_error(s.lifecycle, e),
    ev.ChildEnded: lambda s, e: lifecycle.child_ended(s.lifecycle, e),
    ev.Stopping: lambda s, e: lifecycle.stopping(s.lifecycle, e),
    ev.Rerun: lambda s, e: lifecycle.rerun(s.lifecycle, e),
    ev.Standing: lambda s, e: lifecycle.standing(s.lifecycle, e),
    ev.Environment: _environment,
    ev.HostSample: _host_sample,
    ev.GpuSample: _gpu_sample,
    ev.ReadFiles: _read_files,
    ev.Standstill: _standstill,
    ev.Stacks: lambda s, e: standstill.stacks(s.standstill, e),
    ev.Suspended: lambda s, e: standstill.suspended(s.standstill, e),
    ev.Preflight: lambda s, e: devices.preflight(s.devices, e),
    ev.Diagnostic: lambda s, e: devices.diagnostic(s.devices, e),
    ev.OutOfMemory: _out_of_memory,
    ev.Log: lambda s, e: record.log(s.record, e),
    ev.HookOff: lambda s, e: record.hook_off(s.record, e),
    ev.Dropped: lambda s, e: record.dropped(s.record, e),
    ev.Fault: lambda s, e: record.fault(s.record, e),
}
"""What changes more than what a training process tells."""


def fold(journal: list[ev.Event]) -> RunState:
    """The state after a whole journal."""
    state = RunState()
    for event in journal:
        state.apply(event)
    return state
