"""Family E: host memory that grows with the steps: how fast, whether it is a leak, and what grows (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from itertools import combinations, pairwise
from statistics import median

from tfgpu_tui.core import units
from tfgpu_tui.core.events import GrowthCause
from tfgpu_tui.core.quick import dataclass
from tfgpu_tui.core.rows import Container
from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose import growth_by_training
from tfgpu_tui.diagnose.finding import Finding
from tfgpu_tui.diagnose.growth_by_training import DROP_SHARE, NOTICEABLE_BYTES

MIN_POINTS = 30
MIN_STEPS = 400
WARMUP_SHARE = 0.3
WINDOWS = 6
MIN_GROWTH_BYTES = 14 * 2**20
MIN_GROWTH_SHARE = 0.02
"""Of the memory that the process has: allocators and libraries creep by less for a long time."""
STILL_SHARE = 0.8
"""How much of the mean rise the last windows must still show: what levels off is no leak."""
SCATTER = 1.5
"""Times as much as nine tenths of a window spread, in the second widest, must have come together: memory that goes up
and down by as much with each batch has no level to rise yet."""
EXPLAINS_SHARE = 0.5
TRACES_A_STEP = 0.01
TRACE_BYTES = 40_000
"""What a small traced function keeps at least (measured: 134 kB for a sum of two operations)."""

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Growth:
    """How memory changes by the step, after warm-up."""

    total_bytes: float
    growing: bool
    samples: Points
    """Evenly taken, after warm-up; of different steps."""

    @cached_property
    def bytes_per_step(self) -> float:
        """Theil and Sen's median of the slopes between all pairs of samples: thousands, and so made where asked."""
        pairs = combinations(self.samples, 2)
        return median((y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in pairs if x2 != x1)


def host_growth(points: Points) -> Growth | None:
    """Slope of (step, bytes) and whether it is a leak; None while there are too few points or steps.

    The first 30 % are dropped (allocators and buffers fill). It counts as growth when at least 4 of 5 steps between the
    medians of six windows rise, the last ones too, nothing much is given back in between, and what came together is
    more than what allocators do by themselves.
    """
    kept = points[int(len(points) * WARMUP_SHARE) :]
    if len(points) < MIN_POINTS or len(kept) < WINDOWS * 3 or points[-1][0] - points[0][0] < MIN_STEPS:
        return None
    thin = kept[:: max(1, len(kept) // 60)]
    if all(step == thin[0][0] for step, _ in thin):
        return None
    width = len(kept) / WINDOWS
    windows = [sorted(y for _, y in kept[int(i * width) : int((i + 1) * width)]) for i in range(WINDOWS)]
    medians = [median(window) for window in windows]
    scatter = sorted(window[-1 - len(window) // 20] - window[len(window) // 20] for window in windows)[-2]
    total = medians[-1] - medians[0]
    rises = sum(b > a + NOTICEABLE_BYTES for a, b in pairwise(medians))
    still = (medians[-1] - medians[-3]) / 2 >= STILL_SHARE * total / (WINDOWS - 1)
    drop = max((a - b for a, b in pairwise(medians)), default=0.0)
    steady = rises >= WINDOWS - 2 and still and drop <= DROP_SHARE * total
    leaks = steady and _large(total, medians[0]) and total > SCATTER * scatter
    return Growth(total, leaks, thin)


def _large(total: float, first: float) -> bool:
    """More than what allocators do by themselves."""
    return total > max(MIN_GROWTH_BYTES, MIN_GROWTH_SHARE * first)


def training_growth(state: RunState) -> Growth | None:
    """Growth of the process that trains, the worst of them where several do; of the process tree where no process told
    its own memory. None where it can't be judged (`unknown_reason`)."""
    return tree_growth(state) if not state.process_memory else _own_growth(state)


def _own_growth(state: RunState) -> Growth | None:
    """As told by the processes that train, of themselves."""
    if _still_caching(state):
        return None
    found = [g for g in (host_growth(_after_caching(state, s.points)) for s in state.process_memory.values()) if g]
    growth = max(found, key=lambda growth: (growth.growing, growth.bytes_per_step), default=None)
    if growth is None or growth.growing or not _large(growth.total_bytes, growth.samples[0][1]):
        return growth
    # Windows of steps that do not end with the trainings see a stair as a scatter.
    each = growth_by_training.by_training(state)
    return replace(growth, growing=each is not None and each.goes_on)


def _children_growth(state: RunState) -> Growth | None:
    """Of the script's child processes by themselves; None where those were not told, and of one process of several."""
    if _still_caching(state) or state.one_of_several or any(pid != state.child_pid for pid in state.process_memory):
        return None
    return host_growth(_after_caching(state, state.children_by_step.points))


def tree_growth(state: RunState) -> Growth | None:
    """Growth of the script with all its children; of one process of several it is not known which of them are its."""
    return (
        None
        if _still_caching(state) or state.one_of_several
        else host_growth(_after_caching(state, state.rss_by_step.points))
    )


def unknown_reason(state: RunState) -> str:
    """Why `training_growth` is None."""
    if _still_caching(state):
        return "the first pass fills the pipeline's cache in memory: growth is judged from the second on"
    return f"judged from {MIN_STEPS} steps and {MIN_POINTS} samples on"


def _caches(state: RunState) -> bool:
    return state.pipeline is not None and any(
        str(stage.get("stage", "")).startswith("MemoryCache") for stage in state.pipeline.stages
    )


def _still_caching(state: RunState) -> bool:
    return _caches(state) and not state.history


def _after_caching(state: RunState, points: Points) -> Points:
    filled = (state.history[0].steps or 0) if _caches(state) and state.history else 0
    return [point for point in points if point[0] > filled]


def findings(state: RunState) -> Iterator[Finding]:
    """memory.host_growth."""
    own, children = _own_growth(state), _children_growth(state)
    if own is not None and own.growing:
        yield _finding(state, own)
    elif own is not None and children is not None and children.growing:
        yield _of_children(state, children)
    elif own is None and (tree := tree_growth(state)) is not None and tree.growing:
        yield _unseparated(state, tree)


def _finding(state: RunState, growth: Growth) -> Finding:
    cause = state.growth_causes[-1] if state.growth_causes else None
    words, step, kind = _likely(state, growth, cause)
    if kind != "container" and (each := growth_by_training.by_training(state)) is not None:
        return _of_trainings(state, growth, each)
    held = (cause.containers[0] if cause and cause.containers else None) if kind == "container" else None
    return Finding(
        id="memory.host_growth",
        severity="warning",
        title=f"Host memory grows by {units.size(growth.bytes_per_step)} a step",
        lines=[words, _together(state, growth)],
        next=step,
        evidence={
            "kib_per_step": round(growth.bytes_per_step / 1024, 2),
            "total_mib": round(growth.total_bytes / 2**20, 1),
            "cause": kind,
            "container": held,
            "retraces": state.judged.traces,
        },
        incomplete=None if kind is not None else "what grows was not found",
    )


def _unseparated(state: RunState, growth: Growth) -> Finding:
    """The script with its children grows, and no process told enough of itself to say which of them, or with what."""
    # The growth is that from the middle of the first window after the run's warm-up to the middle of the last.
    judged = (1.0 - WARMUP_SHARE) * (WINDOWS - 1) / WINDOWS
    each = growth_by_training.of_short_ones(state, growth.total_bytes / judged)
    if each is None:
        return _finding(state, growth)
    return replace(
        _of_trainings(state, growth, each), incomplete="too short, each, to tell growth with their steps from this"
    )


def _of_trainings(state: RunState, growth: Growth, each: growth_by_training.ByTraining) -> Finding:
    words, step, kind = growth_by_training.words(each)
    return Finding(
        id="memory.host_growth",
        severity=growth_by_training.severity(state, growth.total_bytes),
        title=growth_by_training.title(state, each),
        lines=[words, _together(state, growth)],
        next=step,
        evidence={
            "kib_per_step": round(growth.bytes_per_step / 1024, 2),
            "mib_per_training": round(each.bytes_each / 2**20, 2),
            "trainings": state.fits,
            "total_mib": round(growth.total_bytes / 2**20, 1),
            "cause": kind,
            "container": None,
            "retraces": state.judged.traces,
        },
        incomplete=None if kind is not None else "what grows was not found",
    )


def _together(state: RunState, growth: Growth) -> str:
    return f"{units.size(growth.total_bytes)} more since warm-up, {units.size(state.rss_peak_bytes)} at its highest"


def _likely(state: RunState, growth: Growth, cause: GrowthCause | None) -> tuple[str, str, str | None]:
    """The likely cause as (words, next step, `container` | `retracing` | None where it isn't known)."""
    largest = cause.containers[0] if cause is not None and cause.containers else None
    if largest is not None and (largest.get("bytes_per_step") or 0) >= EXPLAINS_SHARE * growth.bytes_per_step:
        return _container_words(largest, growth), _container_step(largest), "container"
    traces = cause.traces / cause.steps if cause is not None and cause.steps else 0.0
    steps = state.judged.steps
    traces = max(traces, state.judged.traces / steps if steps else 0.0)
    if traces * TRACE_BYTES >= 0.25 * growth.bytes_per_step and traces >= TRACES_A_STEP:
        return (
            f"functions are traced again and again ({traces:.2g} a step): each trace keeps its graph",
            "Stop the retracing: pass tensors instead of Python numbers, or give tf.function an input_signature.",
            "retracing",
        )
    looked = "neither a container of Python nor retracing explains it"
    if cause is None:
        looked = "not looked for yet" if state.running else "the run was over before it was looked for"
    return (
        f"cause not known: {looked}",
        "Look for what is kept from step to step outside of Python's containers: native libraries, open files, a "
        "dataset or iterator made anew in each step.",
        None,
    )


def _container_words(found: Container, growth: Growth) -> str:
    name = f"the {found.get('kind')} {found['name']}" if found.get("name") else f"a {found.get('kind')}"
    size = units.size(found.get("element_bytes"))
    share = min(1.0, (found.get("bytes_per_step") or 0) / growth.bytes_per_step)
    return (
        f"{name} grows by {found.get('per_step') or 0:.2g} {found.get('element')} of {size} a step: "
        f"{units.share(share)} of the growth"
    )


def _container_step(found: Container) -> str:
    name = found.get("name") or "the container"
    if "Tensor" in str(found.get("element")):
        return f"Keep numbers in {name}, not tensors: float(loss) instead of loss; or empty it now and then."
    return f"Empty {name} now and then, or keep a sum instead of every value."


def _of_children(state: RunState, growth: Growth) -> Finding:
    return Finding(
        id="memory.host_growth",
        severity="warning",
        title=f"Memory of the script's child processes grows by {units.size(growth.bytes_per_step)} a training step",
        lines=[
            "the training process itself does not grow",
            f"{units.size(growth.total_bytes)} more since warm-up in the script and its children",
        ],
        next="Look at what the worker processes of the input pipeline keep from batch to batch.",
        evidence={
            "kib_per_step": round(growth.bytes_per_step / 1024, 2),
            "total_mib": round(growth.total_bytes / 2**20, 1),
            "cause": "children",
            "container": None,
            "retraces": state.judged.traces,
        },
        incomplete="which child grows, and what in it, is not known",
    )
