"""From what ran when to what a step's compute is made of: a sweep over the timeline of whole steps (pure).

Ops overlap: on threads, on streams, on several GPUs. Each instant is shared among those that run then, so that all
parts sum to wall time. Which of them count:

1. Where any GPU works: its kernels and copies. Ops on the host beside them hold nothing up.
2. Else the ops that run on the CPU, each until its executor went on to the next one. On a machine with a GPU only those
   that TensorFlow placed on the CPU: the others are what launches a kernel. Ops of the input pipeline don't count: they
   run beside the step. Ops too cheap to be told one by one count here, too (`profile_silent`).
3. Else nobody, while the function waits for its batch: that is input wait, no compute.
4. Else what waits for a tensor from another device, or for other replicas.
5. Else, inside a call of a tf.function: a gap on a GPU, or TensorFlow's own work on the CPU (it starts the function,
   and hands ops to threads); told of the layer whose op ends it, too.
6. Outside of any call: the host's share of the step, no compute.

A step is from one run of an op that runs once a step (an optimizer's) to the next, so that only whole ones are seen.
"""

from __future__ import annotations

from collections import Counter
from typing import Dict, List, Mapping, NamedTuple, Optional, Set, Tuple

from . import profile_silent
from .names import INPUT, LOSS, OPTIMIZER, is_layer
from .profile_silent import Group
from .profile_trace import Run, Times, Trace, own_node

Attribution = Mapping[str, Tuple[str, bool]]
"""Node -> (row of the placement, whether it is of the backward pass)."""

FORWARD, BACKWARD, UPDATE, LOSS_PART, INPUT_PART = "forward", "backward", "optimizer", "loss", "input"
COPIES, COLLECTIVES, PYTHON, COMPILED = "copies", "collectives", "python", "compiled"
GAPS, RUNTIME, UNKNOWN, OF_CALL = "gaps", "runtime", "unknown", "call"
MOST_OPS = 30
OF_PYTHON = ("PyFunc", "PyFuncStateless", "EagerPyFunc", "NumpyFunction")
OF_COPIES = ("_Send", "_Recv", "_HostSend", "_HostRecv")
OF_COLLECTIVES = ("Collective", "NcclAllReduce", "NcclBroadcast", "NcclReduce")
OF_INPUT = ("IteratorGetNext", "OptionalGetValue", "OptionalFromValue", "OptionalHasValue")
ON_GPU, ON_CPU, INPUT_WAIT, WAITS, CALL, OUTSIDE = range(6)
"""Who has an instant: the first of these that is there then."""
SHARED = (ON_GPU, ON_CPU, WAITS)
SMALL = "(small ops)"
"""What ops are called that TensorFlow's profiler does not tell one by one."""
NOBODY: Tuple[Optional[str], bool] = (None, False)


class Split(NamedTuple):
    """Where the compute of a step goes; milliseconds a step of wall time, over whole steps of the window."""

    steps: int
    step_ms: float
    compute_ms: float
    parts: Dict[str, float]
    """They sum to `compute_ms`."""
    by_layer: Dict[str, Dict[str, float]]
    """Row of the placement -> part -> milliseconds."""
    ops: List[Dict[str, object]]
    """Rows as in the event, the longest first."""
    idle: Dict[str, float]
    """Part -> milliseconds of the runtime, or of the gaps, that an op of that part ended."""
    turns: Dict[str, float]
    """Row of the placement -> turns a step of the loop in it; rows without a loop are left out."""
    window: Tuple[float, float] = (0.0, 0.0)
    """Begin of the first and end of the last of these steps, in microseconds of the profiler's clock."""


class Spent(NamedTuple):
    """Microseconds of the timeline, by who had them."""

    busy: Dict[Group, float]
    idle: Dict[Optional[Group], float]
    """Inside of a call with nothing at work: by whom it was ended, None where that was the call's start or end."""
    free: Dict[int, float]
    """INPUT_WAIT and OUTSIDE."""


def split(found: Trace, attribution: Attribution, placed: Mapping[str, str]) -> Optional[Split]:
    """None where no two steps can be told apart. `placed`: node -> device in TensorFlow's final graph."""
    runs = relevant(found.runs, attribution, placed)
    starts = step_starts(runs, attribution)
    if len(starts) < 2:
        return None
    begin_us, end_us, steps = starts[0], starts[-1], len(starts) - 1
    gpu = any(run.device != "CPU" for run in runs)
    executors = {run.step_id for run in runs if run.step_id}
    processes = [] if gpu else [process for process in found.processes if process.step_id in executors]
    grouped = [(run, group_of(run, attribution, placed)) for run in runs]
    timeline: List[Busy] = [(_level(run), group, run.begin_us, run.until_us) for run, group in grouped]
    for kind, since_us, until_us in found.waits:
        if kind in OF_COPIES or kind.startswith(OF_COLLECTIVES):
            timeline.append((WAITS, group_of(Run("", kind, "CPU", since_us, until_us), {}, {}), since_us, until_us))
        elif kind.startswith(OF_INPUT):
            timeline.append((INPUT_WAIT, None, since_us, until_us))
    owners, turns = profile_silent.resolved(processes, grouped, looped(attribution))
    timeline += [(ON_CPU, _small(owner), p.begin_us, p.end_us) for p, owner in zip(processes, owners)]
    timeline += [(CALL, None, *call) for call in found.calls or [(begin_us, end_us)]]
    spent = sweep(timeline, begin_us, end_us)
    scale = 1e3 * steps
    begun = Counter(group for _, group, at_us, _ in timeline if group is not None and begin_us <= at_us < end_us)
    nobodys = GAPS if gpu else RUNTIME
    parts, by_layer = _sums(spent, nobodys, scale)
    idle: Dict[str, float] = {}
    for ended_by, us in spent.idle.items():
        part = OF_CALL if ended_by is None else ended_by.part
        idle[part] = idle.get(part, 0.0) + us / scale
    return Split(
        steps,
        (end_us - begin_us) / scale,
        sum(parts.values()),
        parts,
        by_layer,
        _rows(spent.busy, begun, steps),
        idle,
        turns,
        (begin_us, end_us),
    )


def all_compiled(split: Split) -> bool:
    """Whether XLA made one program of all layers; the optimizer may be beside it."""
    return COMPILED in split.parts and not {FORWARD, BACKWARD} & set(split.parts)


def looped(attribution: Attribution) -> Set[str]:
    """The rows of layers with a loop in the graph: TensorFlow names its node `while`, `while_1`, `map_while_grad`, and
    what is in it after that. Whether the loop's own node is left depends on how it was lowered."""
    return {row for node, (row, _) in attribution.items() if "while" in node and is_layer(row)}


def _sums(spent: Spent, nobodys: str, scale: float) -> Tuple[Dict[str, float], Dict[str, Dict[str, float]]]:
    """Milliseconds a step by part, and by layer and part."""
    parts: Dict[str, float] = {}
    by_layer: Dict[str, Dict[str, float]] = {}
    told = [(group, group.part, us) for group, us in spent.busy.items()]
    for group, part, us in [*told, *((group, nobodys, us) for group, us in spent.idle.items())]:
        parts[part] = parts.get(part, 0.0) + us / scale
        if group is not None and group.layer is not None:
            row = by_layer.setdefault(group.layer, {})
            row[part] = row.get(part, 0.0) + us / scale
    return parts, by_layer


def _small(owner: Optional[Group]) -> Group:
    if owner is None:
        return Group(UNKNOWN, None, False, SMALL, "CPU")
    return owner._replace(kind=SMALL, layout=False)


def relevant(runs: List[Run], attribution: Attribution, placed: Mapping[str, str]) -> List[Run]:
    """Those of the training's function: not the input pipeline's ops, and not what only launches a kernel."""
    executors = {run.step_id for run in runs if run.step_id and own_node(run.node) in attribution}
    gpu = any(run.device != "CPU" for run in runs)
    with_kernels = {run.node for run in runs if run.device != "CPU"}
    out = []
    for run in runs:
        if run.device == "CPU" and not run.compiled:
            if run.step_id not in executors and not (not run.step_id and own_node(run.node) in attribution):
                continue
            if gpu and (run.node in with_kernels or placed.get(run.node, "CPU").startswith("GPU")):
                continue
        out.append(run)
    return out


def step_starts(runs: List[Run], attribution: Attribution) -> List[float]:
    """When each step ran the same op, which runs once in each: of the optimizer's the one that takes longest, of those
    that run as often as most of them do (a loop's ops run more often). Without an optimizer of any op of a layer, or of
    any instruction that XLA compiled."""
    candidates = (
        lambda run: attribution.get(run.node, NOBODY)[0] == OPTIMIZER,
        lambda run: run.node in attribution,
        lambda run: run.compiled,
    )
    for wanted in candidates:
        begins: Dict[str, List[float]] = {}
        us: Counter[str] = Counter()
        for run in filter(wanted, runs):
            name = run.node or run.kind
            begins.setdefault(name, []).append(run.begin_us)
            us[name] += int(run.end_us - run.begin_us)
        if begins:
            usual = Counter(map(len, begins.values())).most_common(1)[0][0]
            chosen = max((node for node in begins if len(begins[node]) == usual), key=lambda node: us[node])
            return sorted(begins[chosen])
    return []


def steps_in(times: Times, attribution: Attribution) -> int:
    """How many steps the window held: what the optimizer's ops run once each; without them the layers', or any op where
    the graph has no layers. Loops run their ops more often. Between two epochs ops of the input and the loss run alone.
    """
    ran = [(attribution[name][0], op.runs) for name, op in times.ops.items() if name in attribution]
    layers = any(is_layer(row) for row, _ in attribution.values())
    runs = Counter(count for row, count in ran if row == OPTIMIZER)
    runs = runs or Counter(count for row, count in ran if not layers or is_layer(row))
    return runs.most_common(1)[0][0] if runs else 0


def group_of(run: Run, attribution: Attribution, placed: Mapping[str, str]) -> Group:
    """To which part of the step a run belongs, and to which layer."""
    layer, backward = attribution.get(own_node(run.node), NOBODY)
    if run.kind.startswith(OF_COLLECTIVES) or run.kind.lower().startswith("nccl"):
        part = COLLECTIVES
    elif run.kind in OF_COPIES or (not run.node and run.kind.lower().startswith("memcpy")):
        part = COPIES
    elif run.kind in OF_PYTHON:
        part = PYTHON
    elif run.compiled:
        part = COMPILED
    elif layer is None:
        part = INPUT_PART if run.kind.startswith(OF_INPUT) else UNKNOWN
    else:
        part = {OPTIMIZER: UPDATE, LOSS: LOSS_PART, INPUT: INPUT_PART}.get(layer, BACKWARD if backward else FORWARD)
    device = placed.get(run.node, run.device) if run.device == "CPU" else run.device
    return Group(part, layer, backward, run.kind, device, own_node(run.node) != run.node)


def _level(run: Run) -> int:
    return ON_CPU if run.device == "CPU" else ON_GPU


Busy = Tuple[int, Optional[Group], float, float]
"""Level, the group that gets the time (None for levels that are nobody's), begin and end in microseconds."""


def sweep(timeline: List[Busy], begin_us: float, end_us: float) -> Spent:
    """Who had begin..end; all together sum to its length."""
    edges: List[Tuple[float, bool, int]] = []
    for index, (_, _, since_us, until_us) in enumerate(timeline):
        since_us, until_us = max(since_us, begin_us), min(until_us, end_us)
        if until_us > since_us:
            edges += (since_us, True, index), (until_us, False, index)
    edges.sort()
    running = [0] * OUTSIDE + [1]
    each_us = [0.0] * (OUTSIDE + 1)  # what one that ran all the time would have had, by level
    before: Dict[int, float] = {}
    spent = Spent({}, {}, {})
    idle = _Idle(spent)
    now_us = begin_us
    for at_us, begins, index in [*edges, (end_us, True, -1)]:
        if at_us > now_us:
            level = next(level for level, count in enumerate(running) if count)
            each_us[level] += (at_us - now_us) / (running[level] if level in SHARED else 1)
            idle.passed(level, at_us - now_us)
            now_us = at_us
        if index < 0:
            break
        level, group, _, _ = timeline[index]
        running[level] += 1 if begins else -1
        if group is not None and begins:
            before[index] = each_us[level]
            idle.ended(group)
        elif group is not None:
            spent.busy[group] = spent.busy.get(group, 0.0) + each_us[level] - before.pop(index)
    idle.ended(None)
    spent.free.update({level: each_us[level] for level in (INPUT_WAIT, OUTSIDE)})
    return spent


class _Idle:
    """Time inside of a call in which nothing is at work, until something is."""

    def __init__(self, spent: Spent) -> None:
        self._spent = spent
        self._us = 0.0
        self._fresh = True
        """Whether the call has only begun."""

    def passed(self, level: int, us: float) -> None:
        """So long somebody of this level had the time."""
        if level == CALL:
            self._us += us
        elif level in (INPUT_WAIT, OUTSIDE):
            self.ended(None)
            self._fresh = True

    def ended(self, by: Optional[Group]) -> None:
        """By an op, or by the call's end."""
        if self._us:
            key = None if self._fresh else by
            self._spent.idle[key] = self._spent.idle.get(key, 0.0) + self._us
        self._us, self._fresh = 0.0, False


def _rows(spent: Mapping[Group, float], runs: Mapping[Group, int], steps: int) -> List[Dict[str, object]]:
    longest = sorted(spent.items(), key=lambda item: -item[1])[:MOST_OPS]
    return [
        {
            "op": group.kind,
            "part": group.part,
            "layer": group.layer,
            "backward": group.backward,
            "device": group.device,
            "ms": round(us / 1e3 / steps, 5),
            "runs": round(runs.get(group, 0) / steps, 2),
            **({"layout": True} if group.layout else {}),
        }
        for group, us in longest
    ]
