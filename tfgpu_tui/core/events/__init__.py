"""Every event of a run's journal as a frozen dataclass: one JSON object a line (standard library only).

The journal is the bus: the supervisor writes it, every reader folds it with `state.RunState.apply`. Units are in the
names: `_s` seconds, `_us` microseconds, `_bytes`, `_percent` (0..100), `_w` watts. Times `t` are unix seconds.
`None` means "not measured" and is never replaced by zero. Fields are only ever added; a reader skips types and fields
that it does not know, so an old reader opens a new journal. What rows in them look like says `rows`; docs/journal.md is
written from both.

`run` and `machine` are the supervisor's, `program` and `training` the agent's, `monitor` is what both say of
themselves; `codec` makes lines of events, and events of lines. Readers take the names from here.
"""

from tfgpu_tui.core.events.base import (
    HISTOGRAM_LAST,
    HISTOGRAM_STEPS_PER_OCTAVE,
    Event,
    histogram_bucket,
    histogram_value_s,
)
from tfgpu_tui.core.events.codec import ALL_EVENTS, DEEPEST, FIELDS, SCHEMA_VERSION, decode, encode, from_dict, parse
from tfgpu_tui.core.events.machine import Environment, GpuSample, HostSample, Preflight, Standstill, Suspended
from tfgpu_tui.core.events.monitor import AgentCost, Dropped, Fault, HookOff
from tfgpu_tui.core.events.program import (
    AgentConnected,
    Dataset,
    GraphPython,
    GrowthCause,
    Job,
    Knobs,
    LayerTimes,
    Model,
    Optimizer,
    Pipeline,
    Placement,
    ProcessMemory,
    ScriptLines,
    Stacks,
    Stood,
    TfMemory,
    UnrolledLoop,
    UserCode,
)
from tfgpu_tui.core.events.run import (
    ChildStarted,
    Diagnostic,
    Log,
    OutOfMemory,
    Rerun,
    RunEnded,
    RunStarted,
    Standing,
    Stopping,
)
from tfgpu_tui.core.events.training import (
    ArrayCopy,
    ChildEnded,
    DebugSwitch,
    Epoch,
    FirstRun,
    FitCalls,
    Metrics,
    Phase,
    PredictCalls,
    Retrace,
    ScriptError,
    Steps,
    TrainEnd,
)

__all__ = [
    "ALL_EVENTS",
    "DEEPEST",
    "FIELDS",
    "HISTOGRAM_LAST",
    "HISTOGRAM_STEPS_PER_OCTAVE",
    "SCHEMA_VERSION",
    "AgentConnected",
    "AgentCost",
    "ArrayCopy",
    "ChildEnded",
    "ChildStarted",
    "Dataset",
    "DebugSwitch",
    "Diagnostic",
    "Dropped",
    "Environment",
    "Epoch",
    "Event",
    "Fault",
    "FirstRun",
    "FitCalls",
    "GpuSample",
    "GraphPython",
    "GrowthCause",
    "HookOff",
    "HostSample",
    "Job",
    "Knobs",
    "LayerTimes",
    "Log",
    "Metrics",
    "Model",
    "Optimizer",
    "OutOfMemory",
    "Phase",
    "Pipeline",
    "Placement",
    "PredictCalls",
    "Preflight",
    "ProcessMemory",
    "Rerun",
    "Retrace",
    "RunEnded",
    "RunStarted",
    "ScriptError",
    "ScriptLines",
    "Stacks",
    "Standing",
    "Standstill",
    "Steps",
    "Stood",
    "Stopping",
    "Suspended",
    "TfMemory",
    "TrainEnd",
    "UnrolledLoop",
    "UserCode",
    "decode",
    "encode",
    "from_dict",
    "histogram_bucket",
    "histogram_value_s",
    "parse",
]
