"""Families C and D, between the steps: shuffle refill, validation, checkpoints, copied arrays (pure)."""

from __future__ import annotations

from collections.abc import Iterator

from tfgpu_tui.core import units
from tfgpu_tui.core.state import STEADY_STEPS, RunState
from tfgpu_tui.diagnose import host_calls
from tfgpu_tui.diagnose.epoch_starts import MIN_EPOCHS, pauses, refill
from tfgpu_tui.diagnose.finding import Finding, severity_of

DOMINATE = 0.3
"""Share of an epoch from which what is not training is a warning; every healthy run has some."""
DOMINATE_CRITICAL = 0.5
NOTICEABLE_PAUSE_S = 0.25
"""Shorter pauses, which nothing explains, are not worth a change."""
LARGE_ARRAY_BYTES = 256 * 2**20


def findings(state: RunState) -> Iterator[Finding]:
    """input.shuffle_refill, input.epoch_start, input.whole_array_on_gpu, host.validation."""
    yield from _whole_array(state)
    if state.train.steps < STEADY_STEPS:
        return
    yield from _epoch_starts(state)
    yield from _validation(state)


def _epoch_starts(state: RunState) -> Iterator[Finding]:
    """The first batch of an epoch is waited for: a shuffle buffer fills, or the pipeline starts anew."""
    known = pauses(state)
    severity = severity_of(known.share) if known is not None else None
    if known is None or severity is None:
        return
    shuffle = refill(state, known.pause_s)
    if shuffle is None and known.pause_s < NOTICEABLE_PAUSE_S:
        return
    evidence: dict[str, object] = {
        "pause_ms": round(known.pause_s * 1e3, 1),
        "share": round(known.share, 4),
        "epochs": known.epochs,
    }
    often = f"{units.share(known.share)} of an epoch's time, before its first batch"
    pause = f"Each epoch begins with a pause of {units.duration(known.pause_s)}"
    if shuffle is None:
        yield Finding(
            id="input.epoch_start",
            severity=severity,
            title=f"{pause}: its first batch is waited for",
            lines=[often, "the pipeline starts anew: files are opened, buffers are empty"],
            next="Keep one iterator for all epochs: repeat() on the dataset, and fit(steps_per_epoch=…).",
            evidence=evidence,
            share=known.share,
        )
        return
    holds = f"the shuffle holds {shuffle.buffer_size or 'an unknown number of'} elements"
    if shuffle.filling_s is not None:
        holds += f", and to make so many takes about {units.duration(shuffle.filling_s)}"
    elif shuffle.whole:
        holds += ": (nearly) all of the data is read and prepared before the first batch"
    unsure = shuffle.filling_s is None and not shuffle.whole
    filling = None if shuffle.filling_s is None else round(shuffle.filling_s * 1e3, 1)
    yield Finding(
        id="input.shuffle_refill",
        severity=severity,
        title=f"{pause}: the shuffle buffer fills",
        lines=[often, holds],
        next="Put cache() before shuffle, shuffle file names instead of images, or use a smaller buffer.",
        evidence={**evidence, "filling_ms": filling, "buffer_size": shuffle.buffer_size},
        share=known.share,
        incomplete="how long each stage takes is unknown: other causes are possible" if unsure else None,
    )


def _whole_array(state: RunState) -> Iterator[Finding]:
    for copy in state.array_copies.values():
        if copy.array_bytes < LARGE_ARRAY_BYTES:
            continue
        limit = state.tf_memory.get(copy.device, {}).get("limit_bytes")
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
    # A fit of one epoch that is called in a loop has no later ones: all but its first fit count.
    epochs = [e for e in state.history if e.wall_s and (e.epoch > 1 or e.fit > 1)]
    wall = sum(e.wall_s or 0.0 for e in epochs)
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
    if dearest != "validation" and host_calls.explains_callbacks(state, sum(callbacks.values())):
        return
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
            else _less_often(dearest)
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


def _less_often(callback: str) -> str:
    """What can be set of a callback of Keras', or done with one of the script's own."""
    if callback == "TensorBoard":
        return "Write less: TensorBoard(histogram_freq=0, write_images=False, write_graph=False, profile_batch=0)."
    if "Checkpoint" in callback:
        return f"Save less often: {callback}(save_best_only=True), save_weights_only=True, or save_freq=STEPS."
    if callback == "BackupAndRestore":
        return "Save less often: BackupAndRestore(save_freq=STEPS), a number of steps that is several epochs."
    return f"Do what {callback} does less often: every few epochs."
