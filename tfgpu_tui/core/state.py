"""What is known of a run: live, attach, replay, report and compare fold the same journal into a RunState (pure)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from tfgpu_tui.core import events as ev
from tfgpu_tui.core.reducer import HANDLERS
from tfgpu_tui.core.run_words import PHASE_WORDS, STOP_SIGNALS, STOP_WORDS, end_words
from tfgpu_tui.core.series import Decimated, Series
from tfgpu_tui.core.totals import FitTimes, GpuView, Mark, PredictTimes, Retraced, StepTotals, Training

MARKS = 400
STEADY_STEPS = 20
"""Steps after warm-up before anything is judged."""


@dataclass
class RunState:
    """Everything that a screen, a report or a verdict needs to know about one run."""

    run: ev.RunStarted | None = None
    ended: ev.RunEnded | None = None
    now: float = 0.0
    """Time of the newest event."""
    child_pid: int | None = None
    agent_pids: list[int] = field(default_factory=list)
    phase: str | None = None
    exiting_t: float | None = None
    """When the script's own code was over, and its interpreter began to close."""
    ends_with: int | None = None
    """What its process will end with then: an exit code, or minus a signal; None where that is not known."""
    environment: ev.Environment = field(default_factory=lambda: ev.Environment(t=0.0))
    knobs_in_force: ev.Knobs | None = None
    model: ev.Model | None = None
    dataset: ev.Dataset | None = None
    loop: str | None = None

    totals: dict[str, StepTotals] = field(default_factory=dict)
    """All steps by phase (train, test, predict), warm-up included: exact counts."""
    steady: dict[str, StepTotals] = field(default_factory=dict)
    """The same without warm-up: what is judged."""
    recent: deque[ev.Steps] = field(default_factory=lambda: deque(maxlen=256))
    """Train windows of the last 15 seconds: the speed right now."""
    window_ms: Decimated = field(default_factory=Decimated)
    """(time, mean step time in ms) of steady train windows: how much the speed itself varies."""
    processes: set[int] = field(default_factory=set)
    """Processes that trained."""
    first_wait_s: float | None = None
    """For the first batch of this epoch, from its first window; None before that."""
    slowest_steps: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=2000))
    """(longest step, compute of all steps) in seconds of each steady train window."""
    retraces: dict[str, Retraced] = field(default_factory=dict)
    """By the place of the function."""
    fit_calls: FitTimes | None = None
    """All calls of `fit` that returned but the first, whose set-up is the model's own."""
    first_fit: FitTimes | None = None
    predict_calls: dict[tuple[int | None, str, bool], PredictTimes] = field(default_factory=dict)
    """By process, method, and whether within a fit."""
    last_call_t: float | None = None
    """When the last call of fit, predict or evaluate returned."""
    array_copies: dict[str, ev.ArrayCopy] = field(default_factory=dict)
    """By device."""
    debug_switches: dict[str, str] = field(default_factory=dict)
    """Those that are on -> where the script turned them on."""
    fits: int = 0
    batch_size: int | None = None
    first_step_t: float | None = None
    last_step_t: float | None = None

    epoch: int | None = None
    epochs: int | None = None
    epochs_done: int = 0
    epoch_steps: int | None = None
    epoch_first_step: int = 0
    """Train steps done when the epoch began."""
    edge_s: float = 0.0
    validation_s: float = 0.0
    epoch_callbacks: dict[str, float] = field(default_factory=dict)
    history: deque[ev.Epoch] = field(default_factory=lambda: deque(maxlen=200))
    """Ended epochs with their metrics."""
    metrics: dict[str, float | str] = field(default_factory=dict)
    metric_series: dict[str, Series] = field(default_factory=dict)

    pipeline: ev.Pipeline | None = None
    """With what processes that make batches told of themselves."""
    pipeline_told: ev.Pipeline | None = None
    worker_code: dict[int | None, list[dict[str, Any]]] = field(default_factory=dict)
    """The newest `user_code` of each process."""
    placement: ev.Placement | None = None
    layer_times: ev.LayerTimes | None = None
    tf_memory: dict[str, dict[str, Any]] = field(default_factory=dict)
    tf_memory_series: dict[str, Series] = field(default_factory=dict)

    host: ev.HostSample | None = None
    gpu_status: ev.GpuSample | None = None
    gpu_read_ms: tuple[int, float, float] = (0, 0.0, 0.0)
    """Samples of the GPUs, and their sum and largest of milliseconds in the driver."""
    preflight: ev.Preflight | None = None
    diagnostics: dict[tuple[str, ...], ev.Diagnostic] = field(default_factory=dict)
    """TensorFlow's own messages, in the order in which they first came; keyed by what they say."""
    gpus: dict[str, GpuView] = field(default_factory=dict)
    rss_peak_bytes: int | None = None
    rss_by_step: Decimated = field(default_factory=Decimated)
    """(training steps, resident bytes of the process tree)."""
    process_memory: dict[int, Decimated] = field(default_factory=dict)
    """By process that trains: (its training steps, its resident bytes), measured in the process itself."""
    trainings: dict[tuple[int | None, int], Training] = field(default_factory=dict)
    """The latest ones by process and number of the fit, in the order in which they began."""
    script_lines: ev.ScriptLines | None = None
    growth_causes: list[ev.GrowthCause] = field(default_factory=list)
    out_of_memory: ev.OutOfMemory | None = None
    """The last allocation that failed."""
    out_of_memory_count: int = 0
    oom_kills_before: int | None = None
    """Of the kernel's out-of-memory killer, at the first sample."""

    series: dict[str, Series] = field(
        default_factory=lambda: {
            name: Series()
            for name in (
                "wait_ms",
                "compute_ms",
                "host_ms",
                "cpu",
                "tree_cpu",
                "busiest_core",
                "rss",
                "host_memory",
                "disk_read",
                "net_recv",
                "throttled",
                "granted_cores",
            )
        }
    )
    marks: deque[Mark] = field(default_factory=lambda: deque(maxlen=MARKS))

    log_bytes: int = 0
    log_capped: bool = False
    error: ev.ScriptError | None = None
    child_errors: list[ev.ScriptError] = field(default_factory=list)
    child_ends: list[ev.ChildEnded] = field(default_factory=list)
    """Processes of multiprocessing that ended badly."""
    hooks_off: dict[str, str] = field(default_factory=dict)
    faults: deque[ev.Fault] = field(default_factory=lambda: deque(maxlen=20))
    dropped: dict[str, int] = field(default_factory=dict)
    agent_cost: ev.AgentCost | None = None
    stopping: ev.Stopping | None = None
    stop_stage: str | None = None
    """The last stage of a stop that was for the script itself, not for what it left behind."""
    interpreter_signalled: bool = False
    """Whether that stage's signal was for an interpreter whose script was over."""
    stopped_early: str | None = None
    rerun: ev.Rerun | None = None
    """The newest that was asked for while this run went on."""
    standing: dict[str, float] = field(default_factory=dict)
    """Findings that stand -> since when, as the supervisor told it."""
    _current: StepTotals | None = field(default=None, init=False, repr=False, compare=False)
    """What `current` said; None where that may be another by now."""

    def apply(self, event: ev.Event) -> None:
        """Folds one event in. Events of types without a handler change nothing but the time."""
        self.now = max(self.now, event.t)
        handler = HANDLERS.get(type(event))
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
        return self.totals.get("train") or StepTotals()

    @property
    def judged(self) -> StepTotals:
        """Training steps after warm-up."""
        return self.steady.get("train") or StepTotals()

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
    def wall_s(self) -> float | None:
        """Seconds since the run began, up to its end."""
        return None if self.run is None else max(0.0, self.now - self.run.t)

    @property
    def oom_kills(self) -> int | None:
        """Processes that the kernel's out-of-memory killer ended during the run; None where it is not counted."""
        now = self.host.oom_kills if self.host else None
        return None if now is None or self.oom_kills_before is None else now - self.oom_kills_before

    @property
    def step_in_epoch(self) -> int | None:
        """Steps done in the current epoch."""
        return None if self.epoch is None else max(0, self.train.steps - self.epoch_first_step)

    def current(self) -> StepTotals:
        """The last seconds of training: the speed right now. All steady steps where there are none, and once the run
        has ended."""
        if self._current is None:
            out = StepTotals()
            for window in self.recent if self.ended is None else ():
                out.add(window)
            self._current = out if out.steps else (self.judged if self.judged.steps else self.train)
        return self._current

    def examples_per_s(self, totals: StepTotals) -> float | None:
        """Examples through the optimiser per second of step time. Where the shape of a batch has no fixed size (its
        last one may be smaller), the dataset's batch size stands for it; None where neither is known."""
        if totals.examples and totals.wall_s:
            return totals.examples / totals.wall_s
        return self.batch_size / totals.mean_s if self.batch_size and totals.mean_s else None

    def layer_ms(self, row: dict[str, Any]) -> float | None:
        """Milliseconds a step in a placement row's ops, forward and backward, as profiled; None where it was not."""
        times = self.layer_times.layers.get(str(row.get("layer"))) if self.layer_times else None
        return None if times is None else round(sum(times.values()), 4)

    def eta_s(self) -> float | None:
        """Seconds to the end of this fit at the speed so far, epoch edges included; None where the end is unknown."""
        if self.epoch is None or self.epochs is None or self.epoch_steps is None or not self.running:
            return None
        mean = self.current().mean_s
        if mean is None or self.step_in_epoch is None:
            return None
        later = max(0, self.epochs - self.epoch)
        left = max(0, self.epoch_steps - self.step_in_epoch) + later * self.epoch_steps
        edge = self.edge_s / (self.epoch - 1) if self.epoch > 1 else 0.0
        return left * mean + later * edge

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
            return PHASE_WORDS.get(self.phase, self.phase)
        if self.agent_pids:
            return "running, TensorFlow not imported yet"
        return "starting" if self.child_pid is None else "running"


def fold(journal: list[ev.Event]) -> RunState:
    """The state after a whole journal."""
    state = RunState()
    for event in journal:
        state.apply(event)
    return state
