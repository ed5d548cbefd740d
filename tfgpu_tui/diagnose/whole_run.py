"""Family F: what takes the time of a run besides its steps, judged on its whole wall time once it is over (pure)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from tfgpu_tui.core import units
from tfgpu_tui.core.account import TRAINING, WholeRun, main_process, place_words, whole_run
from tfgpu_tui.core.events import FirstRun
from tfgpu_tui.core.places import Places
from tfgpu_tui.core.rows import StoodAt
from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose.finding import Finding

MOST = 0.5
"""Share of a run's wall time, less what every run has (COMMON), from which what is no step of it is most of it."""
CRITICAL = 0.8
CRITICAL_S = 120.0
LEAST_S = 20.0
"""Less than that outside of the steps is not worth a word: a trial run of a script, a demo."""
GREATEST_S = 15.0
"""The greatest part must take so long."""
NEEDLESS_S = 5.0
"""Both, where the main thread stood in what is known to be needless."""
COMMON = ("start", "import", "exit")
COMMON_S = 60.0
"""Every run has these; so long is none of the usual."""
SLOW_START_S = 30.0
SLOW_START_SHARE = 0.2
LONG_RUN_S = 60.0
SHORT_LOOP_S = 5.0
SHORT_LOOP_SHARE = 0.02
"""All steps of such a long run take less than both: what is wrong in them is no matter of the run."""
SAID = {
    "host.validation": ("validation", "callbacks"),
    "host.fit_in_loop": ("fit_start", "fit_end", "epoch_edges"),
    "host.predict_in_loop": ("evaluation", "callbacks"),
    "host.retracing": ("tracing",),
    "input.shuffle_refill": ("epoch_edges",),
    "input.epoch_start": ("epoch_edges",),
    "input.whole_array_on_gpu": ("fit_start",),
    "run.slow_start": ("tracing",),
    "run.slow_exit": ("exit",),
}
"""Finding -> parts of the account whose cause it says already."""
OF_RUN_TIME = frozenset(("host.validation", "host.fit_in_loop", "host.predict_in_loop"))
"""Findings of a process whose share is of more than its steps."""
CLASS_WEIGHTS = "class_weight_to_sample_weights"
"""Keras' loop over the rows (keras/src/trainers/data_adapters/data_adapter_utils.py, 3.3 to 3.15)."""
NEXT = {
    "fit_start": "Give fit batches that are ready: a tf.data.Dataset, or arrays of the dtype that the model takes.",
    "fit_end": "Look at what fit gives back and lets go of: large arrays, iterators with buffers.",
    "building": "Build the model once, and use it again: set_weights() puts it back to its start.",
    "script": "Save what that line makes and load it the next time, or do it within the pipeline, beside the training.",
    "tensorflow": "Do that once and save it, or within the pipeline, beside the training.",
    "tracing": "Make graphs smaller and fewer: no Python loop over steps in a tf.function, one model for all fits.",
    "epoch_edges": "Keep one iterator for all epochs: a tf.data.Dataset with repeat(), and fit(steps_per_epoch=…).",
    "validation": "Validate less often (validation_freq), on fewer batches (validation_steps), or in larger ones.",
    "callbacks": "Do what the callbacks do at epochs less often.",
    "evaluation": "Evaluate and predict in larger batches, and all data in one call.",
    "import": "Install the environment on a local disk, and import only what the script needs.",
    "start": "Do it after the imports, or save what it makes: it is not seen before TensorFlow is imported.",
    "exit": "Look for a __del__, a thread or a library that takes so long to close.",
}


def findings(state: RunState, said: Collection[str]) -> Iterator[Finding]:
    """run.slow_start, run.outside_training. `said`: ids of findings that stand, whose causes are not said again."""
    ended = state.ended
    if ended is None or ended.exit_code != 0 or ended.stopped is not None or not main_process(state).trains:
        return  # what goes on may train for days yet, and what failed or was stopped was to train on
    found = whole_run(state)
    if found is None:
        return
    started = list(_slow_start(state, found, said))
    yield from started
    yield from _outside(state, found, {*said, *(finding.id for finding in started)})


def _outside(state: RunState, found: WholeRun, said: Collection[str]) -> Iterator[Finding]:
    """What is none of the run's steps, and what no other finding speaks of."""
    told = {part for name in said for part in SAID.get(name, ())}
    usual = [part for part in found.parts if part.key in COMMON and part.seconds < COMMON_S]
    parts = [part for part in found.parts if part.key not in (*TRAINING, "unknown", *told) and part not in usual]
    outside = sum(part.seconds for part in parts)
    if not parts or outside < MOST * (found.wall_s - sum(part.seconds for part in usual)):
        return
    parts.sort(key=lambda part: -part.seconds)
    greatest = parts[0]
    place = _place(found, greatest.key)
    least_s, greatest_s = (NEEDLESS_S, NEEDLESS_S) if _needless(place) else (LEAST_S, GREATEST_S)
    if outside < least_s or greatest.seconds < greatest_s:
        return
    lines = [] if place is None else [_stood(place, state.places)]
    process = main_process(state)
    count = process.epochs.epochs_done
    if greatest.key == "epoch_edges" and count:
        each = f"{count} epochs of {process.steps.train.steps / count:.0f} steps"
        lines.append(f"{each}: {units.duration(greatest.seconds / count)} besides the steps of each")
    lines += [f"{p.words}: {units.duration(p.seconds)}" for p in parts[1:4] if p.seconds >= 0.05 * outside]
    lines.append(f"all its steps together took {units.duration(found.seconds(*TRAINING))}")
    share = outside / found.wall_s
    yield Finding(
        id="run.outside_training",
        severity="critical" if share >= CRITICAL and outside >= CRITICAL_S else "warning",
        title=f"{units.share(share)} of this run is none of its steps: {greatest.words} took "
        f"{units.duration(greatest.seconds)}",
        lines=lines,
        next=_next(greatest.key, place),
        evidence={
            "share": round(share, 4),
            "seconds": {part.key: round(part.seconds, 3) for part in parts},
            "steps_s": round(found.seconds(*TRAINING), 3),
            "wall_s": round(found.wall_s, 3),
            "place": place,
        },
        share=share,
    )


def _place(found: WholeRun, key: str) -> StoodAt | None:
    """The line where the main thread was seen longest in that part."""
    of = {"fit_start": ("preparing", "keras"), "fit_end": ("ending", "keras"), "building": (None, "keras"),
          "script": (None, "python"), "tensorflow": (None, "tensorflow"), "import": (None, "import")}  # fmt: skip
    part, doing = of.get(key, ("", ""))
    within_fit = ("preparing", "ending")
    return next(
        (p for p in found.places
         if (p["part"] == part if part is not None else p["part"] not in within_fit and p["doing"] == doing)),
        None,
    )  # fmt: skip


def _stood(place: StoodAt, places: Places) -> str:
    return f"{place_words(place, places)}: {units.duration(place['seconds'])} seen there"


def _needless(place: StoodAt | None) -> bool:
    return place is not None and CLASS_WEIGHTS in (place.get("within") or "")


def _next(key: str, place: StoodAt | None) -> str:
    if _needless(place):
        return "Give fit(sample_weight=np.where(…)), an array: Keras goes through class_weight row by row."
    return NEXT[key]


def _slow_start(state: RunState, found: WholeRun, said: Collection[str]) -> Iterator[Finding]:
    """A function whose first execution, from its tracing on, is a large part of the run."""
    runs = state.described.account.first_runs.values()
    longest = max(runs, key=_own_s, default=None)
    if longest is None or set(said) & {"host.retracing", "host.xla_recompile"}:
        return
    own = _own_s(longest)
    share = min(1.0, own / found.wall_s)
    if own < SLOW_START_S or share < SLOW_START_SHARE:
        return
    compiling = max(0.0, own - longest.tracing_s)
    xla = state.model is not None and state.model.jit_compile is True
    ptx = any(d.id == "gpu.jit_from_ptx" for d in state.diagnostics.values())
    what = "compiling by XLA, and running" if xla else "compiling, and running"
    yield Finding(
        id="run.slow_start",
        severity="warning",
        title=_slow_title(longest, own, share),
        lines=[
            f"{_function(longest, state.places)}: traced in {units.duration(longest.tracing_s)}, {what} it first took "
            f"{units.duration(compiling)}",
            *([] if not longest.wait_s else [f"besides, {units.duration(longest.wait_s)} for its first batch"]),
            *(["TensorFlow said that it compiles kernels for this GPU from PTX"] if ptx else []),
        ],
        next=_sooner(longest, compiling, xla, ptx),
        knob="jit_compile=off"
        if xla and longest.tracing_s <= compiling and state.run is not None and not state.run.knobs.get("jit_compile")
        else None,
        evidence={
            "function": longest.function,
            "file": longest.file,
            "line": longest.line,
            "seconds": round(own, 3),
            "tracing_s": round(longest.tracing_s, 3),
            "first_batch_s": longest.wait_s,
            "times": longest.count,
            "share": round(share, 4),
        },
        share=share,
    )


def _slow_title(run: FirstRun, own_s: float, share: float) -> str:
    of_run = f"{units.share(share)} of this run"
    if run.count > 1:
        return f"{units.duration(own_s)} pass in the first runs of {run.function}, traced {run.count} times: {of_run}"
    return f"{units.duration(own_s)} pass before {run.function} has run once: {of_run}"


def _own_s(run: FirstRun) -> float:
    return run.wall_s - (run.wait_s or 0.0)


def _function(run: FirstRun, places: Places) -> str:
    if run.keras:
        return f"Keras' {run.function}"
    return f"{run.function} ({places.at(run.file, run.line)})"


def _sooner(run: FirstRun, compiling_s: float, xla: bool, ptx: bool) -> str:
    if run.count > 1 and run.keras:
        return "Build and compile one model for all trainings: set_weights() puts it back to its start."
    if run.tracing_s > compiling_s:
        return "Trace less: a Python loop makes ops for each of its turns; use tf.range, tf.map_fn or RNN."
    if ptx:
        return "Install a TensorFlow that is built for this GPU; the driver keeps what it compiled for later runs."
    if xla:
        return "Keep what XLA compiled: TF_XLA_FLAGS=--tf_xla_persistent_cache_directory=DIR; or leave it off."
    return "Run the function once on a small batch of the same shapes, and see whether a smaller graph starts sooner."


def relative(state: RunState, found: Iterable[Finding]) -> Iterator[Finding]:
    """Of a run that is over, whose steps were a moment of it: what is wrong within its steps is told as info."""
    whole = whole_run(state) if state.ended is not None else None
    steps_s = state.described.account.fit_s + state.described.account.own_s
    if whole is None or whole.wall_s < LONG_RUN_S or steps_s > min(SHORT_LOOP_S, SHORT_LOOP_SHARE * whole.wall_s):
        yield from found
        return
    words = f"all steps took {units.duration(steps_s)} of a run of {units.duration(whole.wall_s)}"
    for finding in found:
        if finding.share > 0.0 and finding.id not in OF_RUN_TIME:
            yield replace(finding, severity="info", share=0.0, lines=[*finding.lines, words])
        else:
            yield finding
