"""Every event of a run's journal as a frozen dataclass: one JSON object a line (standard library only).

The journal is the bus: the supervisor writes it, every reader folds it with `state.RunState.apply`. Units are in the
names: `_s` seconds, `_us` microseconds, `_bytes`, `_percent` (0..100), `_w` watts. Times `t` are unix seconds.
`None` means "not measured" and is never replaced by zero. Fields are only ever added; a reader skips types and fields
that it does not know, so an old reader opens a new journal.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

SCHEMA_VERSION = 1
DEEPEST = 100
"""Of objects and lists in each other: no event has ten, and every reader goes down into them."""

HISTOGRAM_STEPS_PER_OCTAVE = 8
"""Durations are counted in logarithmic buckets, 8 an octave: 9 % wide, so a percentile is right within 4.5 %."""

HISTOGRAM_LAST = 640
"""A bucket beyond the age of the universe: of a broken peer."""


def histogram_bucket(duration_s: float) -> int:
    """The bucket of a duration: floor(8 * log2(microseconds)); durations under 1 µs count as 1 µs."""
    return math.floor(HISTOGRAM_STEPS_PER_OCTAVE * math.log2(max(duration_s * 1e6, 1.0)))


def histogram_value_s(bucket: int) -> float:
    """The geometric middle of a bucket, in seconds."""
    bucket = min(bucket, HISTOGRAM_LAST)
    return float(2.0 ** ((bucket + 0.5) / HISTOGRAM_STEPS_PER_OCTAVE) / 1e6)


@dataclass(frozen=True, kw_only=True)
class Event:
    """What every line carries: when (unix seconds), who (`agent|host|gpu|child|ui`), and which process."""

    type: ClassVar[str] = ""
    t: float
    src: str = ""
    pid: int | None = None


@dataclass(frozen=True, kw_only=True)
class RunStarted(Event):
    """First line of a journal."""

    type: ClassVar[str] = "run_started"
    id: str
    argv: list[str]
    """The script and its arguments, as typed after the tool's own options (`["-m", "pkg", …]` for a module)."""
    cwd: str
    python: str
    """Path of the interpreter that runs the script."""
    mode: str = "pty"
    """`pty` (screen) or `headless`."""
    knobs: dict[str, str] = field(default_factory=dict)
    parent: str | None = None
    """Id of the run that this one reruns."""
    tool_version: str = ""
    interval_s: float = 0.5
    simulated: str | None = None
    """Said in the status line and the report when the hardware is simulated (`SIMULATED GPU`)."""


@dataclass(frozen=True, kw_only=True)
class ChildStarted(Event):
    """The script's process exists; `pid` is the script's."""

    type: ClassVar[str] = "child_started"


@dataclass(frozen=True, kw_only=True)
class AgentConnected(Event):
    """An agent inside a process of the run said hello. `main` is False in the script's children."""

    type: ClassVar[str] = "agent_connected"
    main: bool = True
    python: str = ""


@dataclass(frozen=True, kw_only=True)
class Phase(Event):
    """What the script is doing before (or between) steps: `importing`, `imported`, `building`, `tracing`, `training`,
    `evaluating`, `predicting`, `idle`, `exiting`. Sent by the agent when it changes; for the words in the status
    line."""

    type: ClassVar[str] = "phase"
    phase: str
    ends_with: int | None = None
    """With `exiting`: the exit code that the process will have, or minus the signal that it will die of; None where
    that is not known."""


@dataclass(frozen=True, kw_only=True)
class Knobs(Event):
    """Which settings were asked for, and what is really in force once the first step ran."""

    type: ClassVar[str] = "knobs"
    in_force: dict[str, str | None] = field(default_factory=dict)
    """Knob name -> value in force, in the knob's own words; None where it can't be read (reason in `notes`)."""
    notes: dict[str, str] = field(default_factory=dict)
    script: dict[str, str] = field(default_factory=dict)
    """Knob name -> what the script itself set, with its place: `set_memory_growth(True) at train.py:12`."""


@dataclass(frozen=True, kw_only=True)
class Environment(Event):
    """The machine (from the supervisor) and TensorFlow (from the agent). Two events merge: None never overwrites."""

    type: ClassVar[str] = "environment"
    host: str | None = None
    cpu_model: str | None = None
    cpu_count: int | None = None
    """CPUs that the training may use (affinity), not those in the box."""
    cpus: list[int] | None = None
    """Numbers of those CPUs; None until the training's own process told them."""
    cpu_quota: float | None = None
    """CPUs granted by the cgroup (cpu.max), e.g. 1.5; None where there is no quota."""
    memory_total_bytes: int | None = None
    memory_limit_bytes: int | None = None
    """cgroup limit; None where there is none."""
    nvidia_devices: int | None = None
    """NVIDIA GPUs on the PCI bus or as /dev/nvidia[0-9]*: what is in the box, whether or not the driver works."""
    driver: str | None = None
    python: str | None = None
    tensorflow: str | None = None
    """Version; `missing` where the script's interpreter can't import it."""
    tensorflow_build: str | None = None
    """`cuda 12.5.1`, `rocm` or `cpu`."""
    keras: str | None = None
    keras_flavour: str | None = None
    """keras3 | keras2 | tf_keras | none."""
    backend: str | None = None
    tf_gpus: list[dict[str, Any]] | None = None
    """GPUs that TensorFlow lists: `{"device": "GPU:0", "name", "uuid", "pci", "ordinal", "capability"}`. `ordinal` is
    the CUDA driver's number (and TensorFlow's physical device), `capability` e.g. [9, 0]; empty when it lists none."""
    visible_devices: str | None = None
    """CUDA_VISIBLE_DEVICES as the script saw it; None where unset."""
    physical_gpus: int | None = None
    """GPUs that TensorFlow found before `tf.config.set_visible_devices`; None before it was asked."""
    messages_from: str | None = None
    """Where TensorFlow's own messages are read: `terminal`, `file`, or `nowhere` (the caller's pipe or terminal)."""


@dataclass(frozen=True, kw_only=True)
class Model(Event):
    """A model that is being trained (or called), as soon as it is known."""

    type: ClassVar[str] = "model"
    name: str
    cls: str = ""
    parameters: int | None = None
    layers: int | None = None
    optimizer: str | None = None
    run_eagerly: bool | None = None
    jit_compile: bool | None = None
    """As resolved by Keras ('auto' is already decided)."""
    steps_per_execution: int | None = None
    dtype_policy: str | None = None
    replicas: int | None = None
    jit_blockers: list[str] | None = None
    """Layers because of which Keras' jit_compile='auto' leaves XLA off; empty where none stands in the way, None
    where it wasn't asked (Keras 2, jit_compile given)."""


@dataclass(frozen=True, kw_only=True)
class Job(Event):
    """This process' place among those that TF_CONFIG names, told with its first training step. Nothing is told where
    the variable is not set, names one worker, or is no cluster of TensorFlow's."""

    type: ClassVar[str] = "job"
    task: str
    """worker | chief | …"""
    index: int
    workers: int
    """Workers and chiefs in all."""
    asynchronous: bool = False
    """There are parameter servers: no worker waits for another."""


@dataclass(frozen=True, kw_only=True)
class Dataset(Event):
    """What feeds the model."""

    type: ClassVar[str] = "dataset"
    kind: str
    """tf.data | arrays | generator | pydataset | custom."""
    elements: list[dict[str, Any]] = field(default_factory=list)
    """One `{"dtype": "float32", "shape": [32, 8, 8, 1]}` for each tensor; unknown dimensions are None."""
    batch_size: int | None = None
    batches: int | None = None
    """Batches in one pass over it; None where unknown or endless."""
    workers: int | None = None
    processes: bool | None = None
    """Whether the workers are processes (`use_multiprocessing`), and no threads."""
    phase: str = "train"


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
    places: list[dict[str, Any]] = field(default_factory=list)
    """The script's own lines that called it, most costly first: `file`, `line`, `function`, `count`, `wall_s`."""


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
    """check_numerics | dump_debug_info | debug_mode (of tf.data)."""
    on: bool
    place: str
    """`train.py:12`."""


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
class Pipeline(Event):
    """The live input pipeline from source to model, cumulative since its iterator was made."""

    type: ClassVar[str] = "pipeline"
    source: str = "model_proto"
    """model_proto (measured live) | graph (only the shape of it: no times)."""
    stages: list[dict[str, Any]] = field(default_factory=list)
    """In the order in which data flows. Each: `stage` (op class, e.g. ParallelMapV2), `name` (shown, e.g. `Map
    load_image`), `self_us` per element of this stage, `elements`, `per_batch_us` (self time per batch divided by its
    parallelism), `parallelism`, `autotuned`, `buffered`, `buffer_size`, `function`, `file`, `line`, `python` (True
    where it runs Python code), `reads` (True where it reads files with TensorFlow's own ops). What is not known is
    None."""
    user: list[dict[str, Any]] = field(default_factory=list)
    """The user's own Python in the pipeline: `name`, `kind` (generator | getitem), `calls`, `mean_us`, `file`,
    `line`."""
    note: str | None = None
    """Why there are no times, where there are none."""
    options: dict[str, bool | None] = field(default_factory=dict)
    """tf.data options of the script that decide whether stages overlap: `autotune`, `inject_prefetch`; None: as
    TensorFlow has them (on)."""


@dataclass(frozen=True, kw_only=True)
class UserCode(Event):
    """The user's own Python in a process that makes batches for the training (`use_multiprocessing`), cumulative."""

    type: ClassVar[str] = "user_code"
    user: list[dict[str, Any]] = field(default_factory=list)
    """`name`, `kind`, `calls`, `seconds`, `file`, `line`."""
    parent: int | None = None
    """The process that started it; None in older journals."""


@dataclass(frozen=True, kw_only=True)
class ScriptLines(Event):
    """At which lines of the script its own Python was seen, while it trained; cumulative.

    `loop`: in the thread that trains, outside of compiled functions. `feed`: in other threads, called by TensorFlow or
    Keras (generators, map functions, `__getitem__`). The most frequent lines, each with `file`, `line`, `function`,
    `text` (of the source), `looks` (in which it was seen there), `waiting` (of those, for another thread, process or
    machine)."""

    type: ClassVar[str] = "script_lines"
    looks: int
    """At the thread that trains, whatever it did."""
    loop_looks: int = 0
    """Those in which one of all the lines of `loop` was seen."""
    feed_looks: int = 0
    loop: list[dict[str, Any]] = field(default_factory=list)
    feed: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Placement(Event):
    """On which device every layer's ops really ran, from TensorFlow's final graph."""

    type: ClassVar[str] = "placement"
    layers: list[dict[str, Any]] = field(default_factory=list)
    """In the model's order. Each: `layer` (path), `class`, `depth` (0 = top), `forward` / `backward` (device -> ops),
    `variables` (devices), `parameters`, `dtype`, `policy` (Keras' dtype policy), `xla` (bool or None), `asked` (device
    asked for, or None), `reason` (words), `calls` (places in the model), `not_on_gpu` (each `op`, `ops`, `dtype` and
    `why`: pinned | no_gpu_kernel | dtype_no_kernel | host_memory | soft_placement | unknown), `predicted` (`GPU`,
    `CPU`, `host` -> ops; None where measured), `copies` (`CPU:0 > CPU:1` -> tensors copied each step),
    `variable_copies`, `float64_ops`, `recurrent` (`cudnn`, `blocked_by`; None for other layers). `not_on_gpu`,
    `copies`, `variable_copies` and `float64_ops` are left out where nothing was found.
    Rows `(input)`, `(loss)`, `(optimizer)` hold what belongs to no layer."""
    source: str = "graph"
    """graph (collected final graph) | eager (op callbacks of one step)."""
    ops: int = 0
    unattributed: int = 0
    predicted: bool | None = None
    """True where TensorFlow has no GPU here: then `not_on_gpu` says what would stay on the CPU on a GPU machine."""
    kernels: str | None = None
    """Where it is known from which ops have a GPU kernel; None where it isn't known."""


@dataclass(frozen=True, kw_only=True)
class LayerTimes(Event):
    """Time by layer over a few profiled steps, when it was asked for; or why there is none."""

    type: ClassVar[str] = "layer_times"
    steps: int = 0
    wall_s: float | None = None
    """Of the profiled steps, which are slower than others while the profiler runs."""
    layers: dict[str, dict[str, float]] = field(default_factory=dict)
    """The row's `layer` -> milliseconds a step: `forward_ms`, `backward_ms`, summed over devices and threads."""
    devices: dict[str, float] = field(default_factory=dict)
    """`GPU:0` or `CPU` -> milliseconds a step in ops and kernels."""
    unattributed_ms: float | None = None
    refused: str | None = None
    """Why nothing was measured, in words; None where it was."""


@dataclass(frozen=True, kw_only=True)
class TfMemory(Event):
    """TensorFlow's own allocator, per device."""

    type: ClassVar[str] = "tf_memory"
    devices: list[dict[str, Any]] = field(default_factory=list)
    """`{"device": "GPU:0", "current_bytes", "peak_bytes", "limit_bytes"}`."""


@dataclass(frozen=True, kw_only=True)
class ProcessMemory(Event):
    """The training process's own resident memory, by the step."""

    type: ClassVar[str] = "process_memory"
    points: list[list[int]] = field(default_factory=list)
    """Training steps done, bytes, and the number of the fit in which they were measured (in older journals without)."""


@dataclass(frozen=True, kw_only=True)
class GrowthCause(Event):
    """What grew in the training process between two looks, while its memory kept growing."""

    type: ClassVar[str] = "growth_cause"
    steps: int
    resident_bytes: int
    traces: int = 0
    """Functions traced between the looks: each keeps its graph."""
    python_blocks: int | None = None
    """Small blocks of Python's own allocator more than before."""
    containers: list[dict[str, Any]] = field(default_factory=list)
    """Python's containers that grew, the largest first: `kind` (list, dict, set, deque), `name` (`keep in train.py`, or
    None), `element` (class of the newest), `element_bytes`, `per_step` (elements), `bytes_per_step`."""


@dataclass(frozen=True, kw_only=True)
class OutOfMemory(Event):
    """An allocation that failed, from TensorFlow's dump in the output. What it does not say is None."""

    type: ClassVar[str] = "out_of_memory"
    case: str | None = None
    """too_big (one tensor is larger than the limit) | full | fragmented | no_room (the device has less than that)."""
    allocator: str | None = None
    device: str | None = None
    """`GPU:0`, or `CPU`."""
    wanted_bytes: int | None = None
    op: str | None = None
    limit_bytes: int | None = None
    in_use_bytes: int | None = None
    peak_bytes: int | None = None
    pool_bytes: int | None = None
    largest_free_bytes: int | None = None
    shape: list[int] | None = None
    dtype: str | None = None
    chunks: list[list[int]] = field(default_factory=list)
    """The largest groups in use: number of chunks, bytes of each."""


@dataclass(frozen=True, kw_only=True)
class HostSample(Event):
    """The machine and the training's process tree; rates are over the time since the last sample."""

    type: ClassVar[str] = "host_sample"
    cpu_percent: float | None = None
    """Whole machine, 0..100."""
    cores_percent: list[float] = field(default_factory=list)
    tree_cpu_percent: float | None = None
    """The script and all its descendants; 100 is one core."""
    tree_rss_bytes: int | None = None
    script_rss_bytes: int | None = None
    processes: int | None = None
    threads: int | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    cgroup_memory_bytes: int | None = None
    oom_kills: int | None = None
    """Processes that the kernel's out-of-memory killer has ended so far, in this cgroup or else on the machine."""
    throttled_percent: float | None = None
    """Share of the interval in which the cgroup's CPU quota held the training back."""
    disk_read_bps: float | None = None
    """Bytes a second read from storage by the tree."""
    disk_write_bps: float | None = None
    net_recv_bps: float | None = None
    """Whole machine."""
    net_sent_bps: float | None = None


@dataclass(frozen=True, kw_only=True)
class GpuSample(Event):
    """Every GPU that NVML shows. `status` is `ok`, or says why there is nothing."""

    type: ClassVar[str] = "gpu_sample"
    status: str = "ok"
    """ok | no_library | no_driver | no_gpu | mismatch | hung | crashed | error."""
    message: str | None = None
    gpus: list[dict[str, Any]] = field(default_factory=list)
    """Each: `index`, `uuid`, `busy_percent`, `memory_busy_percent` (time in which device memory was read or written),
    `memory_used_bytes`, `power_w`, `temperature_c`, `sm_clock_mhz`, `throttle` (list of words), and `error` alone where
    it does not answer. Only every few seconds, until then as they were: `name`, `pci`, `memory_{total,reserved}_bytes`,
    `power_limit_w`, `sm_clock_max_mhz`, `memory_clock[_max]_mhz`, `pcie_{generation,width}[_max]`,
    `pcie_{rx,tx}_bytes_per_s`, `energy_j` (since the driver was loaded), `ecc_{corrected,uncorrected}` (since then),
    `{sm,tensor,dram}_active_percent` (means since the last ones; Hopper and later), `processes` (`[{"pid",
    "memory_bytes", "busy_percent", "ours", "name"}]`; no name of ours), `slices` (MIG: each `uuid`, `name`, `memory_…`,
    `processes`), and `unknown`: field -> why it is None. What NVML does not support, or can't be true, is None."""
    read_ms: float | None = None
    """What this sample took in the driver."""


@dataclass(frozen=True, kw_only=True)
class Preflight(Event):
    """What was found in the script's environment while it started, without importing TensorFlow."""

    type: ClassVar[str] = "preflight"
    facts: dict[str, Any] = field(default_factory=dict)
    """As `doctor/probe.py` says them."""
    took_ms: float | None = None
    problem: str | None = None
    """Why there are no facts, where there are none."""


@dataclass(frozen=True, kw_only=True)
class Diagnostic(Event):
    """A message of TensorFlow's own on stderr that `diagnostics.py` knows. Told at its first time, and again as its
    count doubles."""

    type: ClassVar[str] = "diagnostic"
    id: str
    level: str = "info"
    """noise | info | warning | error."""
    file: str = ""
    """Base name of the C++ file that wrote it."""
    meaning: str = ""
    """In our words."""
    values: dict[str, str] = field(default_factory=dict)
    """What the line names (a library, two versions, a device)."""
    count: int = 1
    """How often it was seen with these values so far."""


@dataclass(frozen=True, kw_only=True)
class Log(Event):
    """output.log grew: the script's output up to `size_bytes` lies in the file; `capped` when the rest is dropped."""

    type: ClassVar[str] = "log"
    size_bytes: int
    capped: bool = False


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


@dataclass(frozen=True, kw_only=True)
class HookOff(Event):
    """A hook of the agent failed and switched itself off: what it measured is unknown from here on."""

    type: ClassVar[str] = "hook_off"
    hook: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class AgentCost(Event):
    """What the agent measured of its own time on the training's thread, cumulative."""

    type: ClassVar[str] = "agent_cost"
    us_per_step: float | None = None
    steps: int = 0
    looks_ms: float | None = None
    """In all, in the looks after something was traced; not in `us_per_step`. None from agents that did not tell."""


@dataclass(frozen=True, kw_only=True)
class Dropped(Event):
    """Messages that had to be dropped, cumulative, by their source."""

    type: ClassVar[str] = "dropped"
    count: int
    where: str = "agent"


@dataclass(frozen=True, kw_only=True)
class Fault(Event):
    """A part of the monitor failed; the training is not touched."""

    type: ClassVar[str] = "fault"
    part: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Stopping(Event):
    """A stop was asked for: `stage` is `batch`, `interrupt`, `terminate` or `kill`; the next comes after `grace_s`.
    After the script's last line: `interpreter` and `kill interpreter`, where its interpreter did not close. After its
    end: `children` and `kill children`, where processes of the run outlived it."""

    type: ClassVar[str] = "stopping"
    stage: str
    grace_s: float | None = None
    reason: str = "user"


@dataclass(frozen=True, kw_only=True)
class Rerun(Event):
    """A rerun that was asked for while this run goes on: its supervisor starts it when the script has ended. Told
    whenever its state changes, always before the run's last event."""

    type: ClassVar[str] = "rerun"
    state: str
    """asked | taken_back | begun (`id` is the new run's) | failed (`error` says why)."""
    knobs: dict[str, str] = field(default_factory=dict)
    id: str | None = None
    error: str | None = None

    @property
    def pending(self) -> bool:
        """It will start when the script has ended."""
        return self.state == "asked"


@dataclass(frozen=True, kw_only=True)
class Standing(Event):
    """Which findings stand, as the supervisor judged them: told whenever that changes, so that a reader who begins at a
    checkpoint knows since when."""

    type: ClassVar[str] = "standing"
    since: dict[str, float]
    """Id of each finding -> unix seconds."""


@dataclass(frozen=True, kw_only=True)
class RunEnded(Event):
    """Last line of a journal. One of `exit_code` and `signal` is set; neither where how it ended can't be known. Of a
    script whose interpreter we ended (`closed_by`) they are what its process would have ended with."""

    type: ClassVar[str] = "run_ended"
    exit_code: int | None = None
    signal: int | None = None
    core_dumped: bool | None = None
    """Whether the kernel wrote a core dump; None where no signal ended it, or where that can't be known."""
    wall_s: float = 0.0
    stopped: str | None = None
    """Why it was stopped, where that is how it ended: `user`, `rerun`, `stop-after`, …"""
    steps: int = 0
    """Training steps until then."""
    closed_by: int | None = None
    """The signal that we ended its interpreter with, which did not close after the script's own code was over."""


ALL_EVENTS: tuple[type[Event], ...] = (
    RunStarted, ChildStarted, AgentConnected, Phase, Knobs, Environment, Model, Job, Dataset, Steps, Epoch, TrainEnd,
    Retrace, FitCalls, PredictCalls,
    ArrayCopy, DebugSwitch, Metrics, Pipeline, UserCode, ScriptLines, Placement, LayerTimes, TfMemory, ProcessMemory,
    GrowthCause, OutOfMemory, HostSample, GpuSample,
    Preflight, Diagnostic, Log, ScriptError, ChildEnded, HookOff, AgentCost, Dropped, Fault, Stopping,
    Rerun, Standing, RunEnded,
)  # fmt: skip
_BY_TYPE: dict[str, type[Event]] = {e.type: e for e in ALL_EVENTS}
_FIELDS: dict[str, frozenset[str]] = {e.type: frozenset(f.name for f in fields(e)) for e in ALL_EVENTS}


def encode(event: Event) -> str:
    """One JSON line without its newline. Raises ValueError on NaN or infinity: those are not JSON."""
    return json.dumps(
        {"v": SCHEMA_VERSION, "type": event.type, **asdict(event)}, separators=(",", ":"), allow_nan=False
    )


def from_dict(data: dict[str, Any]) -> Event | None:
    """The event of a decoded line; None for a type that this version does not know, or when a required field is
    missing or `data` is no event at all. Unknown fields are skipped."""
    kind = data.get("type")
    cls = _BY_TYPE.get(kind) if isinstance(kind, str) else None
    if cls is None or not isinstance(data.get("t"), (int, float)):
        return None
    known = _FIELDS[cls.type]
    try:
        return cls(**{k: v for k, v in data.items() if k in known})
    except TypeError:
        return None


def parse(line: str | bytes) -> dict[str, Any] | None:
    """The object of a JSON line; None for a line that is none, or nested beyond all use. Half of a surrogate pair,
    which is no character and can be written nowhere, becomes U+FFFD."""
    if isinstance(line, str):
        line = line.encode("utf-8", "surrogatepass")
    try:
        text = line.decode().strip()
        data, end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or end != len(text):
        return None
    if line.count(b"[") + line.count(b"{") > DEEPEST and _deeper_than(DEEPEST, data):
        return None
    return _whole_characters(data) if b"\\ud" in line or b"\\uD" in line else data


_DECODER = json.JSONDecoder(parse_constant=lambda name: None)
"""NaN and Infinity are no numbers: what has them is not known."""


def _deeper_than(depth: int, data: Any) -> bool:
    level = [data]
    for _ in range(depth):
        level = [
            item
            for value in level
            for item in (value.values() if isinstance(value, dict) else value)
            if isinstance(item, (dict, list))
        ]
    return bool(level)


_SURROGATE = re.compile("[\ud800-\udfff]")


def _whole_characters(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_whole_characters(item) for item in value]
    if isinstance(value, dict):
        return {_whole_characters(key): _whole_characters(item) for key, item in value.items()}
    return value


def decode(line: str | bytes) -> Event | None:
    """The event of a journal line; None for a line that is no event (broken, foreign, or of a newer type)."""
    data = parse(line)
    return None if data is None else from_dict(data)
