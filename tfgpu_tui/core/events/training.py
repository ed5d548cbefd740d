"""How the training goes on: told by the agent."""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

from tfgpu_tui.core import rows
from tfgpu_tui.core.events.base import Event
from tfgpu_tui.core.quick import dataclass


@dataclass(frozen=True, kw_only=True)
class Phase(Event):
    """What the script is doing before (or between) steps: `importing`, `imported`, `building`, `preparing` (in `fit`,
    before its first step), `tracing`, `training`, `evaluating`, `predicting`, `idle`, `serving` (in the
    `join` of a tf.distribute.Server: waits for what others of its job send), `exiting`. Sent by the agent when it
    changes."""

    type: ClassVar[str] = "phase"
    phase: str
    part: str | None = None
    """Under which name the time in it is summed: the phase's, or, where that can be more than one thing, `fit`,
    `validation`, `callbacks` (an evaluation or prediction that a callback of a fit asked for), `ending` (in `fit`,
    after its last epoch); with `/tracing` behind it while a function is traced there. None from older agents."""
    spent_s: dict[str, float] = field(default_factory=dict)
    """Seconds of this process in each part so far, those included that were too short for a message of their own.
    Empty from older agents."""
    ends_with: int | None = None
    """With `exiting`: the exit code that the process will have, or minus the signal that it will die of; None where
    that is not known."""


@dataclass(frozen=True, kw_only=True)
class Steps(Event):
    """A window of consecutive executions, summed. `wait_s + compute_s + host_s == wall_s` (within rounding)."""

    type: ClassVar[str] = "steps"
    phase: str = "train"
    """train | test | predict."""
    loop: str = "fit"
    """fit | train_on_batch | custom | eager."""
    fit: int = 0
    """Counts the fits (or loops) of this process, from 1."""
    epoch: int | None = None
    """Counts from 1 in this fit; None where the loop has no epochs that we can see."""
    first_step: int = 0
    """Global number of the first step of the window, from 1, in this process and phase."""
    steps: int = 0
    executions: int = 0
    wall_s: float = 0.0
    wait_s: float | None = 0.0
    """Blocked on the next batch. None where it could not be measured (the hook is off)."""
    compute_s: float | None = 0.0
    host_s: float = 0.0
    callbacks: dict[str, float] = field(default_factory=dict)
    """Seconds in batch-level hooks by callback class; part of host_s."""
    periods: dict[str, int] = field(default_factory=dict)
    """Histogram of the wall time per step: `histogram_bucket` as text -> steps."""
    step_min_s: float | None = None
    step_max_s: float | None = None
    batch_size: int | None = None
    examples: int | None = None
    traces: int = 0
    """Functions traced during the window."""
    eager_ops: int | None = None
    """Ops dispatched one by one in Python during the window; None where not counted."""
    warmup: bool = False
    """True while the first steps trace, compile and fill buffers: shown, never judged."""
    profiled: bool = False
    """True while TensorFlow's profiler looked for us, which makes steps slower: shown, never judged."""
    wait_bound: str | None = None
    """Set where `wait_s` is only an upper bound, or None without a hook that failed: the reason in words."""


@dataclass(frozen=True, kw_only=True)
class Epoch(Event):
    """An epoch began or ended; custom loops have none."""

    type: ClassVar[str] = "epoch"
    state: str
    """begin | end."""
    epoch: int
    """From 1."""
    epochs: int | None = None
    steps: int | None = None
    """Steps in the epoch: planned at `begin` (None where unknown), done at `end`."""
    fit: int = 0
    wall_s: float | None = None
    edge_s: float | None = None
    """At `begin`: since the last training step of the epoch before. Validation, checkpoints, iterators made anew."""
    validation_s: float | None = None
    first_wait_s: float | None = None
    """At `end`: how long the epoch's first batch was waited for; None where it is not known."""
    callbacks: dict[str, float] = field(default_factory=dict)
    """At `end`: seconds in epoch-level hooks by callback class."""
    metrics: dict[str, float | str] = field(default_factory=dict)
    planned: int | None = None
    """At `end`: the steps that were planned at its begin; None where none were, and from agents that did not tell."""
    stopped: bool | None = None
    """At `end`: whether somebody asked the fit to stop (`model.stop_training`)."""


@dataclass(frozen=True, kw_only=True)
class TrainEnd(Event):
    """A fit (or evaluate, predict) returned."""

    type: ClassVar[str] = "train_end"
    fit: int = 0
    phase: str = "train"
    stopped: str | None = None
    """Why it was ended early, when we asked for it: `stop-after` | `stop`."""


@dataclass(frozen=True, kw_only=True)
class Metrics(Event):
    """Values of the training's own metrics at a step; at most one a second."""

    type: ClassVar[str] = "metrics"
    step: int
    epoch: int | None = None
    phase: str = "train"
    values: dict[str, float | str] = field(default_factory=dict)
    """A value that is no finite number is the text `nan`, `inf` or `-inf`."""


@dataclass(frozen=True, kw_only=True)
class FitCalls(Event):
    """Calls of `fit` that returned, cumulative."""

    type: ClassVar[str] = "fit_calls"
    count: int
    wall_s: float


@dataclass(frozen=True, kw_only=True)
class PredictCalls(Event):
    """Calls of `predict` or `evaluate` that returned, cumulative. A validation within `fit` is none of them."""

    type: ClassVar[str] = "predict_calls"
    method: str
    """predict | evaluate."""
    in_fit: bool = False
    """Whether they were called within a `fit`: by its callbacks."""
    count: int
    wall_s: float
    batches: int = 0
    batches_s: float = 0.0
    """Of `wall_s`, in the steps of the calls: the rest is the price of starting each."""
    places: list[rows.CallPlace] = field(default_factory=list)
    """The script's own lines that called it, most costly first."""


@dataclass(frozen=True, kw_only=True)
class Retrace(Event):
    """A function that TensorFlow had traced before was traced again. Cumulative by function; the newest change."""

    type: ClassVar[str] = "retrace"
    function: str
    file: str | None = None
    line: int | None = None
    keras: bool = False
    """True for Keras' own functions, such as its train step."""
    traces: int = 0
    """All traces of this function so far, the first one included."""
    seconds: float = 0.0
    """Spent in all traces but the first."""
    kind: str = "object"
    """What changed: value (a Python value) | shape | dtype | structure | object (a tf.function made anew)."""
    argument: str | None = None
    """Path of the argument that changed, such as `batch[0]`; None where no argument did."""
    before: str | None = None
    after: str | None = None


@dataclass(frozen=True, kw_only=True)
class FirstRun(Event):
    """The executions of a function of a training step right after it was traced. Cumulative by function."""

    type: ClassVar[str] = "first_run"
    function: str
    file: str | None = None
    line: int | None = None
    keras: bool = False
    """True for Keras' own functions, such as its train step."""
    count: int = 0
    wall_s: float = 0.0
    """From the begin of each such execution to its end: what was traced, compiled, chosen and run in it."""
    tracing_s: float = 0.0
    """Of that, in Python, to make the graphs."""
    wait_s: float | None = None
    """Of that, for batches that are fetched within the function; None where it could not be measured."""


@dataclass(frozen=True, kw_only=True)
class ArrayCopy(Event):
    """`fit` put its arrays on a GPU as a whole: the allocator there grew by about their size."""

    type: ClassVar[str] = "array_copy"
    device: str
    array_bytes: int
    grown_bytes: int


@dataclass(frozen=True, kw_only=True)
class DebugSwitch(Event):
    """The script turned one of TensorFlow's debugging switches."""

    type: ClassVar[str] = "debug_switch"
    name: str
    """check_numerics | dump_debug_info | debug_mode (of tf.data) | op_determinism | tensor_float_32_off."""
    on: bool
    place: str
    """`train.py:12`; of a variable what set it, in words."""


@dataclass(frozen=True, kw_only=True)
class ScriptError(Event):
    """An exception that ended a process of the run, from sys.excepthook."""

    type: ClassVar[str] = "script_error"
    exception: str
    """Class name."""
    message: str
    file: str | None = None
    """The innermost frame that lies in the user's own code, not in a library."""
    line: int | None = None
    function: str | None = None
    main: bool = True


@dataclass(frozen=True, kw_only=True)
class ChildEnded(Event):
    """A process that the script started by multiprocessing ended badly, and not because the script ended it. Exactly
    one of `exit_code` and `signal` is set."""

    type: ClassVar[str] = "child_ended"
    child: int
    parent: int | None = None
    exit_code: int | None = None
    signal: int | None = None


EVENTS: tuple[type[Event], ...] = (
    Phase,
    Steps,
    Epoch,
    TrainEnd,
    Metrics,
    FitCalls,
    PredictCalls,
    Retrace,
    FirstRun,
    ArrayCopy,
    DebugSwitch,
    ScriptError,
    ChildEnded,
)
