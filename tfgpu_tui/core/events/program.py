"""What is trained, on which devices, from which input, with how much memory: told by the agent."""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

from tfgpu_tui.core import rows
from tfgpu_tui.core.events.base import Event
from tfgpu_tui.core.quick import dataclass


@dataclass(frozen=True, kw_only=True)
class AgentConnected(Event):
    """An agent inside a process of the run said hello. `main` is False in the script's children."""

    type: ClassVar[str] = "agent_connected"
    main: bool = True
    python: str = ""


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
    """worker | chief | master."""
    index: int
    workers: int
    """Workers and chiefs in all."""
    asynchronous: bool = False
    """There are parameter servers: no worker waits for another."""


@dataclass(frozen=True, kw_only=True)
class Member(Event):
    """Which process of a job this one is, by what its cluster and its launcher say: told when TensorFlow is imported,
    and anew with its first training step (older agents: then alone), since scripts set TF_CONFIG themselves. Nothing is
    told where neither says anything; what they don't say is None."""

    type: ClassVar[str] = "member"
    job: str | None = None
    """The same in all processes of a job: `123.0` (Slurm's job and step; `123_4.0` of an array), the launcher's own
    name for it, else the address of the cluster's first task."""
    rank: int | None = None
    """From 0."""
    world_size: int | None = None
    local_rank: int | None = None
    """Among those on this host."""
    role: str | None = None
    """worker | chief | master | evaluator | ps, as the cluster names its task."""
    launcher: str | None = None
    """slurm | openmpi | pmix | mpich | horovod | kubernetes | environment (RANK and WORLD_SIZE)."""
    source: str | None = None
    """What the rank is from: `cluster` (of TensorFlow's runtime), `TF_CONFIG`, or the launcher's name."""
    synchronous: bool | None = None
    """Whether each step waits for all ranks: True in a cluster that trains by collectives, and under Horovod; False
    beside parameter servers."""
    restarts: int | None = None
    """How often Slurm put the job back into its queue."""


@dataclass(frozen=True, kw_only=True)
class Dataset(Event):
    """What feeds the model."""

    type: ClassVar[str] = "dataset"
    kind: str
    """tf.data | arrays | generator | pydataset | custom."""
    elements: list[rows.Element] = field(default_factory=list)
    """One for each tensor."""
    batch_size: int | None = None
    batches: int | None = None
    """Batches in one pass over it; None where unknown or endless."""
    workers: int | None = None
    processes: bool | None = None
    """Whether the workers are processes (`use_multiprocessing`), and no threads."""
    strategy: str | None = None
    """Class of the tf.distribute strategy that hands its batches out; None where there is none."""
    strategy_workers: int | None = None
    """Processes over which that strategy trains; None where it names no cluster."""
    phase: str = "train"


@dataclass(frozen=True, kw_only=True)
class Pipeline(Event):
    """The live input pipeline from source to model, cumulative since its iterator was made."""

    type: ClassVar[str] = "pipeline"
    source: str = "model_proto"
    """model_proto (measured live) | graph (only the shape of it: no times)."""
    stages: list[rows.Stage] = field(default_factory=list)
    """In the order in which data flows."""
    user: list[rows.UserFunction] = field(default_factory=list)
    note: str | None = None
    """Why there are no times, where there are none."""
    options: dict[str, bool | None] = field(default_factory=dict)
    """tf.data options of the script that decide whether stages overlap: `autotune`, `inject_prefetch`; None: as
    TensorFlow has them (on)."""


@dataclass(frozen=True, kw_only=True)
class UserCode(Event):
    """The user's own Python in a process that makes batches for the training (`use_multiprocessing`), cumulative."""

    type: ClassVar[str] = "user_code"
    user: list[rows.WorkerFunction] = field(default_factory=list)
    parent: int | None = None
    """The process that started it; None in older journals."""


@dataclass(frozen=True, kw_only=True)
class ScriptLines(Event):
    """At which lines of the script its own Python was seen, while it trained; cumulative.

    `loop`: in the thread that trains, outside of compiled functions. `feed`: in other threads, called by TensorFlow or
    Keras (generators, map functions, `__getitem__`). The most frequent lines of each."""

    type: ClassVar[str] = "script_lines"
    looks: int
    """At the thread that trains, whatever it did."""
    loop_looks: int = 0
    """Those in which one of all the lines of `loop` was seen."""
    feed_looks: int = 0
    loop: list[rows.ScriptLine] = field(default_factory=list)
    feed: list[rows.ScriptLine] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Stood(Event):
    """At which lines the main thread was seen while no step ran: before, between and after trainings, and in `fit`
    before its first step; cumulative."""

    type: ClassVar[str] = "stood"
    looks: int
    doing: dict[str, float] = field(default_factory=dict)
    """Part (see `phase`) and what was done in it (`building/keras`) -> seconds: each look stands for the time since the
    one before it. Done is: `import` (of a module), `keras` or `tensorflow` (called by the script's line), `python` (all
    else)."""
    places: list[rows.StoodAt] = field(default_factory=list)
    """Those where it stood longest."""


@dataclass(frozen=True, kw_only=True)
class UnrolledLoop(Event):
    """A Python loop of the script that tracing made into copies of its ops in a graph; cumulative by loop."""

    type: ClassVar[str] = "unrolled_loop"
    function: str
    """That was traced; Keras' own or the script's."""
    file: str
    line: int
    """The loop's first line."""
    text: str = ""
    """Of the source."""
    copies: int = 0
    """Of its ops in the graph, as far as a sample of them tells."""
    share: float | None = None
    """Of the graph's ops that have a line of the script's, those that the loop made."""
    ops: int = 0
    """In the graph, the largest one where it was traced several times."""
    traces: int = 0
    """Of graphs that hold it."""
    seconds: float = 0.0
    """In these traces."""
    updates: int | None = None
    """How often an optimizer is applied in the graph; None where that was not noted."""


@dataclass(frozen=True, kw_only=True)
class GraphPython(Event):
    """Python functions inside the training's graph (py_function, numpy_function), cumulative while it trains. Those of
    the input pipeline are none of them."""

    type: ClassVar[str] = "graph_python"
    steps: int = 0
    """Training steps so far."""
    functions: list[rows.GraphFunction] = field(default_factory=list)
    """Those that took most time first."""


@dataclass(frozen=True, kw_only=True)
class Stacks(Event):
    """Where the threads of a process stand. Told when the supervisor asks, while no steps come."""

    type: ClassVar[str] = "stacks"
    threads: list[rows.ThreadStands] = field(default_factory=list)
    doing: str | None = None
    """What the thread that trains is in: batch (waits for the next one) | step | callback | between (steps of a fit) |
    loop (of the script's own, outside of a step); None where it is in none."""
    phase: str = ""
    """As in the event `phase`; '' before TensorFlow is imported."""
    person: bool = False
    """Whether it waits for a person: in a debugger, or for what somebody types."""
    moved: int = 0
    """Calls of the script's generators and elements in the input pipeline so far: it grows while a buffer fills."""
    question: int = 0
    """Number of the question that this answers; 0 of an older agent, which does not tell it."""


@dataclass(frozen=True, kw_only=True)
class Placement(Event):
    """On which device every layer's ops really ran, from TensorFlow's final graph."""

    type: ClassVar[str] = "placement"
    layers: list[rows.Layer] = field(default_factory=list)
    """In the model's order."""
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
    """Where the compute of a step goes, over a few profiled steps; or why that isn't known.

    `layers`, `devices` and `unattributed_ms` sum the times of ops, which overlap on threads and devices. `parts`,
    `by_layer` and `ops` share each instant among the ops that run in it, so that `parts` sum to `compute_ms`."""

    type: ClassVar[str] = "layer_times"
    asked: str = "user"
    """user | automatic: who wanted to know."""
    source: str = "profiler"
    """profiler (TensorFlow's own, each op measured) | looks (where the training's thread stands, now and then)."""
    steps: int = 0
    wall_s: float | None = None
    """Of the profiled steps, which are slower than others while the profiler runs."""
    layers: dict[str, dict[str, float]] = field(default_factory=dict)
    """The row's `layer` -> milliseconds a step: `forward_ms`, `backward_ms`, summed over devices and threads."""
    devices: dict[str, float] = field(default_factory=dict)
    """`GPU:0` or `CPU` -> milliseconds a step in ops and kernels."""
    unattributed_ms: float | None = None
    whole_steps: int = 0
    """Those that `parts`, `by_layer` and `ops` are of: from one run of the same op to the next."""
    step_ms: float | None = None
    """Wall time of a profiled step."""
    compute_ms: float | None = None
    """Of it in compute: without the wait for the batch and the host's time between steps."""
    parts: dict[str, float] = field(default_factory=dict)
    """Part -> milliseconds a step: `forward` and `backward` (of layers), `optimizer`, `loss` (and metrics), `input`
    (ops that take the batch), `copies` (between devices), `collectives` (between replicas), `python` (in the graph:
    `py_function`, `numpy_function`), `compiled` (by XLA: no op of a layer is named), `gaps` (nothing ran on a GPU
    while compute went on), `runtime` (TensorFlow starts the function and hands ops to threads; on a CPU), `unknown`."""
    by_layer: dict[str, dict[str, float]] = field(default_factory=dict)
    """The row's `layer` -> part -> milliseconds a step."""
    ops: list[rows.OpTime] = field(default_factory=list)
    """The longest 30, the longest first. `(small ops)`: those too cheap for the profiler to tell one by one."""
    idle: dict[str, float] = field(default_factory=dict)
    """Of `runtime` or `gaps`, what an op of this part ended -> milliseconds a step; `call`: the function's start and
    end."""
    turns: dict[str, float] = field(default_factory=dict)
    """The row's `layer` -> turns a step of the graph's loop in it, the longest one's; rows without a loop are left
    out."""
    copies: list[rows.CopyTime] = field(default_factory=list)
    """From and to GPUs, by direction, the longest first."""
    products: list[rows.ProductTime] = field(default_factory=list)
    """The longest 8 kernels on GPUs that multiply matrices or convolve."""
    arithmetic: dict[str, float] = field(default_factory=dict)
    """`tensor cores`, `plain`, `unknown` -> milliseconds a step in all such kernels."""
    cost_s: float | None = None
    """What the look cost the training: the profiler's start and end, the reading, the slower steps. None where that
    was not measured."""
    lost_steps: float | None = None
    """The same in steps."""
    note: str | None = None
    """What the parts can't tell, and why, where that is so."""
    refused: str | None = None
    """Why nothing was measured, in words; None where it was."""


@dataclass(frozen=True, kw_only=True)
class Optimizer(Event):
    """What an optimizer updates in a step that was traced; told again where that changed."""

    type: ClassVar[str] = "optimizer"
    name: str
    cls: str = ""
    variables: int = 0
    """Trainable ones that it updates in a step."""
    parameters: int = 0
    """In these."""
    global_clipnorm: float | None = None
    sparse: list[rows.SparseUpdate] = field(default_factory=list)
    """Tables of whose rows the gradient holds only those that were looked up."""


@dataclass(frozen=True, kw_only=True)
class TfMemory(Event):
    """TensorFlow's own allocator, per device."""

    type: ClassVar[str] = "tf_memory"
    devices: list[rows.MemoryDevice] = field(default_factory=list)


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
    containers: list[rows.Container] = field(default_factory=list)
    """Python's containers that grew, the largest first."""


EVENTS: tuple[type[Event], ...] = (
    AgentConnected,
    Knobs,
    Model,
    Job,
    Member,
    Dataset,
    Pipeline,
    UserCode,
    ScriptLines,
    Stood,
    UnrolledLoop,
    GraphPython,
    Stacks,
    Placement,
    LayerTimes,
    Optimizer,
    TfMemory,
    ProcessMemory,
    GrowthCause,
)
