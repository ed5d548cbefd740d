"""Families C and D, between the steps: shuffle refill, validation and checkpoints, many short fits, copied arrays (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tfgpu_tui import events as ev
from tfgpu_tui import units
from tfgpu_tui.diagnose.finding import Finding, severity_of
from tfgpu_tui.state import STEADY_STEPS, RunState

DOMINATE = 0.3
"""Share of an epoch from which what is not training is a warning; every healthy run has some."""
DOMINATE_CRITICAL = 0.5
MIN_EPOCHS = 2
"""Epochs after the first, which traces and compiles, before anything at their edges is judged."""
MANY_FITS = 8
SHORT_FIT_STEPS = 200
LARGE_ARRAY_BYTES = 256 * 2**20


def findings(state: RunState) -> Iterator[Finding]:
    """input.shuffle_refill, input.whole_array_on_gpu, host.validation, host.fit_in_loop."""
    yield from _whole_array(state)
    if state.train.steps < STEADY_STEPS:
        return
    yield from _shuffle_refill(state)
    yield from _validation(state)
    yield from _fit_in_loop(state)


def _later_epochs(state: RunState) -> list[ev.Epoch]:
    """Ended epochs but the first of each fit."""
    return [e for e in state.history if e.epoch > 1 and e.wall_s]


def _wall(epochs: list[ev.Epoch]) -> float:
    return sum(e.wall_s or 0.0 for e in epochs)


def _shuffle_refill(state: RunState) -> Iterator[Finding]:
    """The first batch of an epoch waits until the buffer is full."""
    shuffle = _shuffle(state)
    epochs = [e for e in _later_epochs(state) if e.first_wait_s is not None and e.steps]
    if shuffle is None or len(epochs) < MIN_EPOCHS:
        return
    waits = sum(e.first_wait_s or 0.0 for e in epochs)
    usual = state.judged.mean_s or 0.0
    share = max(waits - len(epochs) * usual, 0.0) / _wall(epochs)
    severity = severity_of(share)
    if severity is None:
        return
    size = shuffle.get("buffer_size")
    yield Finding(
        id="input.shuffle_refill",
        severity=severity,
        title=f"Each epoch begins with a pause of {units.duration(waits / len(epochs))}: the shuffle buffer fills",
        lines=[
            f"{units.share(share)} of an epoch's time, before its first batch",
            f"the shuffle holds {size or 'an unknown number of'} elements, and each is read and prepared first",
        ],
        next="Put cache() before shuffle, shuffle file names instead of images, or use a smaller buffer.",
        evidence={
            "first_wait_ms": round(waits / len(epochs) * 1e3, 1),
            "share": round(share, 4),
            "buffer_size": size,
            "epochs": len(epochs),
        },
        share=share,
    )


def _shuffle(state: RunState) -> dict[str, Any] | None:
    stages = state.pipeline.stages if state.pipeline else []
    return next((s for s in stages if str(s.get("stage")).startswith("Shuffle")), None)


def _whole_array(state: RunState) -> Iterator[Finding]:
    for copy in state.array_copies.values():
        if copy.array_bytes < LARGE_ARRAY_BYTES:
            continue
        limit = (state.tf_memory.get(copy.device) or {}).get("limit_bytes")
        yield Finding(
            id="input.whole_array_on_gpu",
            severity="warning",
            title=f"fit() copied its whole arrays to {copy.device}: {units.size(copy.grown_bytes)} of GPU memory",
            lines=[
                f"the arrays hold {units.size(copy.array_bytes)}, and the allocator there grew by as much as fit began",
                f"TensorFlow may take {units.size(limit)} there" if limit else "that memory is missing for the model",
            ],
            next=(
                "Give fit batches instead: a keras.utils.PyDataset, or a tf.data.Dataset that is made under "
                'tf.device("CPU:0").'
            ),
            evidence={
                "device": copy.device,
                "array_mib": round(copy.array_bytes / 2**20, 1),
                "grown_mib": round(copy.grown_bytes / 2**20, 1),
            },
        )


def _validation(state: RunState) -> Iterator[Finding]:
    epochs = _later_epochs(state)
    wall = _wall(epochs)
    if len(epochs) < MIN_EPOCHS or not wall:
        return
    validation = sum(e.validation_s or 0.0 for e in epochs)
    callbacks: dict[str, float] = {}
    for epoch in epochs:
        for name, seconds in epoch.callbacks.items():
            callbacks[name] = callbacks.get(name, 0.0) + seconds
    share = (validation + sum(callbacks.values())) / wall
    if share < DOMINATE:
        return
    dearest, seconds = max([("validation", validation), *callbacks.items()], key=lambda kv: kv[1])
    per_epoch = {"validation": validation, **callbacks}
    lines = [
        f"{name}: {units.duration(s / len(epochs))} an epoch"
        for name, s in sorted(per_epoch.items(), key=lambda kv: -kv[1])[:3]
        if s / wall >= 0.01
    ]
    yield Finding(
        id="host.validation",
        severity="critical" if share >= DOMINATE_CRITICAL else "warning",
        title=f"{units.share(share)} of each epoch is not training: most of it {dearest}",
        lines=[*lines, f"an epoch takes {units.duration(wall / len(epochs))}"],
        next=(
            "Validate less often (fit(validation_freq=5)), on fewer batches (validation_steps), or in larger ones "
            "(validation_batch_size)."
            if dearest == "validation"
            else f"Do what {dearest} does less often: every few epochs, or only when the metric improved."
        ),
        evidence={
            "share": round(share, 4),
            "validation_ms_per_epoch": round(validation / len(epochs) * 1e3, 1),
            "callbacks_ms_per_epoch": {n: round(s / len(epochs) * 1e3, 1) for n, s in callbacks.items()},
            "epoch_ms": round(wall / len(epochs) * 1e3, 1),
            "epochs": len(epochs),
        },
        share=share if seconds else 0.0,
    )


def _fit_in_loop(state: RunState) -> Iterator[Finding]:
    """Time within the calls of fit that is neither a step nor a validation, after the first of them."""
    fits = state.fit_calls
    if fits is None or fits.calls < MANY_FITS or fits.wall_s <= 0.0 or fits.steps > SHORT_FIT_STEPS * fits.calls:
        return
    setup = max(fits.wall_s - fits.inside_s, 0.0)
    share = setup / fits.wall_s
    severity = severity_of(share)
    if severity is None:
        return
    yield Finding(
        id="host.fit_in_loop",
        severity=severity,
        title=f"{units.share(share)} of the time in fit() is spent on starting it, {fits.calls} times",
        lines=[
            f"{units.duration(setup / fits.calls)} for each start, for {fits.steps / fits.calls:.0f} steps of training",
        ],
        next=(
            "Call fit once for all epochs (a callback can do what stands between the calls), or train_on_batch where each "
            "batch is made by hand."
        ),
        evidence={
            "fits": fits.calls,
            "setup_ms_per_fit": round(setup / fits.calls * 1e3, 2),
            "steps_per_fit": round(fits.steps / fits.calls, 1),
            "share": round(share, 4),
        },
        share=share,
    )
