"""What RunState is made of: sums of steps, one GPU's view, marks on the time axis (pure)."""

from __future__ import annotations

from collections import deque
from dataclasses import field

from tfgpu_tui.core import events as ev
from tfgpu_tui.core import rows
from tfgpu_tui.core.quick import dataclass
from tfgpu_tui.core.series import Decimated, Series


@dataclass
class StepTotals:
    """Sums over step windows. Times in seconds; `wait_s` and `compute_s` are None once a window could not tell."""

    steps: int = 0
    executions: int = 0
    wall_s: float = 0.0
    wait_s: float | None = 0.0
    compute_s: float | None = 0.0
    host_s: float = 0.0
    callbacks: dict[str, float] = field(default_factory=dict)
    periods: dict[int, int] = field(default_factory=dict)
    examples: int | None = 0
    """Of the windows that could tell; None where a state of an older version could not."""
    sized_s: float = 0.0
    """Wall time of those windows."""
    traces: int = 0
    step_min_s: float | None = None
    step_max_s: float | None = None
    wait_bound: str | None = None

    def add(self, e: ev.Steps) -> None:
        """One more window."""
        self.steps += e.steps
        self.executions += e.executions
        self.wall_s += e.wall_s
        self.wait_s = None if self.wait_s is None or e.wait_s is None else self.wait_s + e.wait_s
        self.compute_s = None if self.compute_s is None or e.compute_s is None else self.compute_s + e.compute_s
        self.host_s += e.host_s
        self.traces += e.traces
        for name, seconds in e.callbacks.items():
            self.callbacks[name] = self.callbacks.get(name, 0.0) + seconds
        for bucket, count in e.periods.items():
            self.periods[int(bucket)] = self.periods.get(int(bucket), 0) + count
        if e.examples is not None:
            self.examples = (self.examples or 0) + e.examples
            self.sized_s += e.wall_s
        if e.step_min_s is not None:
            self.step_min_s = e.step_min_s if self.step_min_s is None else min(self.step_min_s, e.step_min_s)
        if e.step_max_s is not None:
            self.step_max_s = e.step_max_s if self.step_max_s is None else max(self.step_max_s, e.step_max_s)
        self.wait_bound = e.wait_bound or self.wait_bound

    @property
    def mean_s(self) -> float | None:
        """Wall time per step."""
        return self.wall_s / self.steps if self.steps else None

    def percentile_s(self, q: float) -> float | None:
        """The `q`-quantile (0..1) of the wall time per step, from the histogram: right within 4.5 %."""
        total = sum(self.periods.values())
        if total <= 0:
            return None
        seen, ordered = 0, sorted(self.periods.items())
        for bucket, count in ordered:
            seen += count
            if seen >= q * total:
                return ev.histogram_value_s(bucket)
        return ev.histogram_value_s(ordered[-1][0])  # counts that make no sense: from a broken peer

    def shares(self) -> dict[str, float | None]:
        """input_wait, compute and host as shares of step time. They sum to 1, or what is unknown is None."""
        if not self.wall_s:
            return {"input_wait": None, "compute": None, "host": None}
        if self.wait_s is None or self.compute_s is None:
            return {"input_wait": None, "compute": None, "host": self.host_s / self.wall_s}
        # The parts are clamped and scaled by their own sum: rounding in the windows must not make 1.0000003.
        parts = [max(0.0, self.wait_s), max(0.0, self.compute_s), max(0.0, self.host_s)]
        whole = sum(parts) or 1.0
        return {"input_wait": parts[0] / whole, "compute": parts[1] / whole, "host": parts[2] / whole}


@dataclass
class GpuView:
    """One GPU as NVML last showed it, and its history."""

    index: int
    uuid: str | None = None
    name: str | None = None
    latest: rows.Gpu = field(default_factory=rows.Gpu)
    seen: float | None = None
    busy: Series = field(default_factory=Series)
    """Percent of time in which any kernel ran."""
    memory: Series = field(default_factory=Series)
    """Bytes in use on the device, by everyone."""
    power: Series = field(default_factory=Series)
    ours: bool = False
    """True once a process of the run was seen on it, or TensorFlow listed it."""
    throttled: dict[str, int] = field(default_factory=dict)
    """Reason for lower clocks -> samples in which it held."""
    samples: int = 0
    """Samples in which the reasons for lower clocks were read."""
    loaded_clock: Series = field(default_factory=Series)
    """MHz of its processors while it worked."""
    loaded_samples: int = 0
    """Samples in which it worked, and the reasons for lower clocks and its highest clock were known."""
    slowed: dict[str, int] = field(default_factory=dict)
    """Reason for lower clocks -> such samples in which it held, and the clock was far below the highest."""
    link_samples: int = 0
    """Readings of its PCIe link while it worked, or while the link carried much."""
    link_below: int = 0
    """Of those, readings in which the link was slower than GPU and slot can."""
    link_received: Series = field(default_factory=Series)
    """Bytes a second from the host, in those readings."""
    lost: tuple[float, str] | None = None
    """When it stopped answering, and why; None while it answers, also again."""


@dataclass(frozen=True)
class Mark:
    """Something that happened at a moment on the time axis: `epoch`, `validation`, `checkpoint`, `retrace`, `knob`
    (settings of the run, at its start), `stall` (it stood still until then), `profile` (the profiler looked inside some
    steps), `end`."""

    t: float
    kind: str
    label: str


@dataclass
class Retraced:
    """A function that was traced again, and how that went on as the training did."""

    latest: ev.Retrace
    history: deque[tuple[int, float, int, float]] = field(default_factory=lambda: deque(maxlen=500))
    """(train steps, their wall time, traces, seconds in retraces), at each time it was told."""


@dataclass
class Training:
    """One fit, or loop of the script's own, of one process: whether its functions were traced, its memory as it ran."""

    fit: int
    traces: int = 0
    memory: Decimated = field(default_factory=lambda: Decimated(16))
    """(the process' training steps, its resident bytes)."""
    gpu_memory: Decimated = field(default_factory=lambda: Decimated(16))
    """(the process' training steps, bytes that TensorFlow's allocators gave to tensors on all GPUs)."""


@dataclass(frozen=True)
class FitTimes:
    """Calls of `fit`, and what was in them."""

    calls: int = 0
    wall_s: float = 0.0
    inside_s: float = 0.0
    """In training steps, validation and epoch-level callbacks, and between the epochs of one call."""
    steps: int = 0


@dataclass
class PredictTimes:
    """Calls of `predict` or of `evaluate` in one process, within a fit or outside; see `events.PredictCalls`."""

    latest: ev.PredictCalls
    before: ev.PredictCalls
    """What is not judged: the first calls, in which functions are traced, and those before the first training step."""
    early: int = 0
    """Calls before the first training step."""

    @property
    def count(self) -> int:
        """Calls since the first training step, the first of them included."""
        return self.latest.count - self.early

    @property
    def calls(self) -> int:
        """Calls that are judged; so are the times below, in seconds."""
        return self.latest.count - self.before.count

    @property
    def wall_s(self) -> float:
        return self.latest.wall_s - self.before.wall_s

    @property
    def batches(self) -> int:
        return self.latest.batches - self.before.batches

    @property
    def starting_s(self) -> float:
        """In the calls, and in none of their batches."""
        return max(0.0, self.wall_s - (self.latest.batches_s - self.before.batches_s))
