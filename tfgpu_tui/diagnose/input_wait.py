"""Family C: the step waits for input (pure)."""

from __future__ import annotations

from collections.abc import Iterator

from tfgpu_tui.core import units
from tfgpu_tui.core.places import Places
from tfgpu_tui.core.rows import Stage
from tfgpu_tui.core.state import STEADY_STEPS, RunState
from tfgpu_tui.diagnose import input_causes
from tfgpu_tui.diagnose.epoch_starts import steady_wait_share
from tfgpu_tui.diagnose.finding import WARNING_SHARE, Finding, severity_of
from tfgpu_tui.diagnose.input_machine import cores_full
from tfgpu_tui.diagnose.stages import (
    batch_s,
    explains,
    named,
    of_library,
    python_stage,
    slowest_stage,
    stage_evidence,
    stage_label,
)

HIDDEN_BUSY_PERCENT = 85.0
"""GPU busy from which waiting of the host is overlapped by work that is still queued on the device."""
SHORT_STEP_S = 0.005
SERVICE = "DataService"
"""How TensorFlow names the stage whose elements come from a tf.data service."""
READERS = ("CSV", "FixedLengthRecord", "TextLine", "TFRecord")
SECOND_SIGN = 0.5
"""Where the wait is only an upper bound: the share of a step that the slowest stage must need for a batch."""


def findings(state: RunState) -> Iterator[Finding]:
    """input.bound and its causes, or input.hidden."""
    steady = state.judged
    share = steady_wait_share(state)
    if steady.steps < STEADY_STEPS or share is None or steady.mean_s is None or share < WARNING_SHARE:
        return
    wait_s = share * steady.mean_s
    evidence: dict[str, object] = {
        "input_wait": round(share, 4),
        "wait_ms_per_step": round(wait_s * 1e3, 3),
        "step_ms": round(steady.mean_s * 1e3, 3),
        "steps": steady.steps,
    }
    busy = gpu_busy(state)
    if busy is not None:
        evidence["gpu_busy_percent"] = round(busy, 1)
    if hidden(state):
        yield Finding(
            id="input.hidden",
            severity="info",
            title=f"Waiting for data is hidden: the GPU stays {units.percent(busy)} busy meanwhile",
            lines=[f"the loop waits {units.share(share)} of each step, while queued work keeps the GPU busy: no loss"],
            next="Nothing to do: the GPU has work while the host waits.",
            evidence=evidence,
        )
        return
    stage = slowest_stage(state)
    if stage is not None:
        evidence["stage"] = stage_evidence(stage)
    unsure = unconfirmed(state)
    causes = [] if unsure else list(input_causes.causes(state, share))
    lines = [
        f"waits {units.duration(wait_s)} of {units.duration(steady.mean_s)} a step",
        _stage_sentence(state, stage),
    ]
    whole = steady.shares()["input_wait"] or share
    if units.share(whole) != units.share(share):  # two numbers on one screen are to be told apart
        lines.append(f"{units.share(whole)} with the first batches of the epochs, which are waited for longer")
    explained = explains(state, wait_s)
    if not causes and not explained:
        lines.append("the stages together don't take long enough to explain the wait")
    step, knob = (causes[0].next, None) if causes else _next_step(state, stage, explained)
    # Where no setting is the cure: how fast the model is with free input.
    knob = next((c.knob for c in causes if c.knob), knob or "input=synthetic")
    asked = state.run is not None and state.run.knobs.get(knob.partition("=")[0])
    yield Finding(
        id="input.bound",
        severity="info" if unsure else (severity_of(share) or "info"),
        title=(
            f"Perhaps input-bound: up to {units.share(share)} of each step waits for data"
            if unsure
            else f"Input-bound: {units.share(share)} of each step waits for data"
        ),
        lines=lines,
        next=step,
        knob=None if asked else knob,
        evidence=evidence,
        share=0.0 if unsure else share,
        incomplete=unsure,
    )
    yield from causes


def hidden(state: RunState) -> bool:
    """Whether a GPU has work while the host waits."""
    busy = gpu_busy(state)
    return busy is not None and busy >= HIDDEN_BUSY_PERCENT


def unconfirmed(state: RunState) -> str | None:
    """Why waiting is only an upper bound here, and nothing confirms it; None where it is what it seems."""
    bound = state.judged.wait_bound
    if bound is None or _second_sign(slowest_stage(state), state.judged.mean_s or 0.0):
        return None
    return f"{bound}: the time in next is only an upper bound, and no slow stage confirms it"


def _second_sign(stage: Stage | None, step_s: float) -> bool:
    return stage is not None and batch_s(stage) >= SECOND_SIGN * step_s


def _stage_sentence(state: RunState, stage: Stage | None) -> str:
    if stage is None:
        why = state.pipeline.note if state.pipeline is not None and state.pipeline.note else "no stage times yet"
        suspect = python_stage(state)
        return f"slowest stage unknown: {why}" + (
            f"; in Python runs {stage_label(suspect, state.places)}" if suspect else ""
        )
    per_batch, self_us, parallel = batch_s(stage), stage.get("self_us"), stage.get("parallelism")
    parts = [f"slowest {stage_label(stage, state.places)}: {units.duration(per_batch)} a batch"]
    each_s, at_once = float(self_us or 0.0) / 1e6, max(float(parallel or 1), 1.0)
    # Of a stage whose element is the batch, the time for an element is only that of one of those under way.
    if self_us is not None and abs(each_s / at_once - per_batch) > 0.01 * per_batch:
        parts.append(f"{units.duration(each_s)} an element")
    if str(stage.get("stage")).startswith(SERVICE):
        parts.append("made by the workers of a tf.data service")
    else:
        parts.append("one at a time" if not parallel or parallel == 1 else f"{parallel:g} at a time")
    if stage.get("python"):
        parts.append("Python")
    return ", ".join(parts)


def _next_step(state: RunState, stage: Stage | None, explained: bool) -> tuple[str, str | None]:
    """Where no cause is proven: what the stages let one try, and the knob that does it, where one does."""
    if stage is None and state.pipeline is not None and state.pipeline.note:
        words = "Rerun with input=parallel, then input=prefetch, and compare: each stage's own time can't be had here."
        return words, "input=parallel"
    if stage is None:
        return "Look at the pipeline: the stage times say which stage to speed up once they are known.", None
    if not explained:
        if cores_full(state):
            return (
                "All cores are busy, so the pipeline's threads wait for one: free the machine of other work, or ask "
                "for more cores."
            ), None
        if (state.judged.mean_s or 0.0) < SHORT_STEP_S:
            words = "Steps are so short that handing a batch over counts: a larger batch"
            if _joins(state):
                return f"{words}, or steps_per_execution=32.", "steps_per_execution=32"
            return f"{words}.", None
        return "No stage is to blame: rerun with input=synthetic to see what free input would bring.", "input=synthetic"
    return _about(stage, state.places), None


def _joins(state: RunState) -> bool:
    """Whether Keras can run several steps for each return to Python, and does not yet."""
    return state.loop == "fit" and state.model is not None and state.model.steps_per_execution == 1


def _about(stage: Stage, places: Places) -> str:
    """What to do about the slowest stage."""
    what, kind, library = named(stage, places), str(stage.get("stage")), of_library(stage)
    if library is not None:
        return f"{what} is {library}'s own: a larger batch lets it run less often."
    if kind.startswith(("ParallelMap", "ParallelInterleave", "MapAndBatch")):
        return f"{what} already runs in parallel: make it cheaper, cache() its result, or give it more CPU cores."
    if kind.startswith("Shuffle"):
        return f"{what} copies each element: shuffle less of it (indices, file names), or cache() what comes before."
    if kind.startswith(SERVICE):
        return "Give the tf.data service more workers, or make the stages before distribute() cheaper: those run there."
    if kind.startswith(READERS):
        return (
            f"{what} reads one file after the other: interleave() over the file names with "
            "num_parallel_calls=tf.data.AUTOTUNE reads several at once; cache() what fits in memory."
        )
    if not stage.get("function"):
        return f"{what} handles one element at a time: give it fewer, larger ones (batch early, map whole batches)."
    return f"Make {what} cheaper, or cache() its result; end the pipeline with prefetch(tf.data.AUTOTUNE)."


def gpu_busy(state: RunState) -> float | None:
    """Mean GPU busy (percent) over the time of training, of the run's own GPUs; None where there is none."""
    ours = [g for g in state.gpus.values() if g.ours]
    means = [m for g in ours if (m := g.busy.mean(state.first_step_t, state.last_step_t)) is not None]
    return sum(means) / len(means) if means else None
