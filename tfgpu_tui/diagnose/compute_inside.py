"""Family F: what a look inside the step shows of a layer or of the optimizer, with the reason (pure).

That a layer or an update takes most of a step is no fault by itself. Said is what has a reason which the look
measured: a loop over the examples of the batch, data that is put into another order around a layer, an update of whole
tables, or of very many small variables one after the other, or a norm over all gradients.
"""

from __future__ import annotations

from collections.abc import Iterator

from tfgpu_tui.core import compute_parts, units
from tfgpu_tui.core import events as ev
from tfgpu_tui.core.rows import Layer, SparseUpdate, is_layer
from tfgpu_tui.core.state import STEADY_STEPS, RunState
from tfgpu_tui.diagnose.finding import WARNING_SHARE, Finding, severity_of

LEAST_TURNS = 16
"""Of a loop over the examples: in fewer it is cheap, and as often by chance."""
AS_OFTEN = 0.1
"""By how much the turns of a loop may differ from the size of a batch: the last batch of an epoch is smaller."""
RECURRENT = ("RNN", "LSTM", "GRU", "Bidirectional", "TimeDistributed")
"""In the names of Keras' layers that loop over time."""
MOSTLY = 0.5
"""Of the optimizer's time, or its parameters, what makes it the reason."""
RARE = 10
"""A table has so many times more rows than a step looks up."""
SCATTERS = ("ResourceScatter", "ScatterNd", "UnsortedSegment", "Unique", "ResourceGather", "Gather")
"""Ops of a sparse update: they touch the rows that were looked up."""
NORM_OPS = ("Sum", "L2Loss")
"""What only a norm needs in an update; its squares look like those of Adam."""
MANY_OPS = 500
SMALL_ELEMENTS = 10_000
"""Elements of a variable below which starting its update takes longer than the update."""


def findings(state: RunState) -> Iterator[Finding]:
    """compute.layer, compute.optimizer."""
    times, compute = state.layer_times, state.judged.shares()["compute"]
    if times is None or not times.parts or compute is None or state.judged.steps < STEADY_STEPS:
        return
    yield from _layer(state, times, compute)
    yield from _optimizer(state, times, compute)


def _layer(state: RunState, times: ev.LayerTimes, compute: float) -> Iterator[Finding]:
    """The layer that takes most of the step and has a reason. What is no layer (the loss, the optimizer) has none."""
    for name, parts in compute_parts.layers(times):
        if severity_of(sum(parts.values()) * compute) is None:
            return
        row = _row_of(state, name)
        if row is None or not is_layer(row):
            continue
        if _over_the_batch(state, times, row):
            yield _looped(state, times, row, parts, compute)
            return
        if severity_of(_layout_share(times, name) * compute) is not None:
            yield _reordered(state, times, row, compute)
            return


def _row_of(state: RunState, name: str) -> Layer | None:
    return next((row for row in (state.placement.layers if state.placement else ()) if row["layer"] == name), None)


def _looped(state: RunState, times: ev.LayerTimes, row: Layer, parts: dict[str, float], compute: float) -> Finding:
    name, share = str(row["layer"]), sum(parts.values()) * compute
    spent_s, step_s = sum(times.by_layer[name].values()) / 1e3, (times.step_ms or 0.0) / 1e3
    of_it = ", ".join(f"{compute_parts.words(part)} {units.share(its)}" for part, its in parts.items())
    return Finding(
        id="compute.layer",
        severity=severity_of(share) or "info",
        title=f"Layer {name} takes {units.share(share)} of each step: it loops over the examples of the batch",
        lines=[
            f"{row['class']} {name}: {times.turns[name]:.0f} turns of a loop in each step, as many as the batch has "
            "examples",
            f"{units.duration(spent_s)} of a profiled step of {units.duration(step_s)}; of compute: {of_it}",
        ],
        next=f"Compute all examples at once in {name}, as one tensor, in place of tf.map_fn or a loop; or move it into "
        "the input pipeline, where it runs beside the step.",
        evidence={
            "layer": name,
            "class": row["class"],
            "reason": "loop_over_batch",
            "turns": times.turns[name],
            "batch_size": state.batch_size,
            "share": round(share, 4),
        },
        share=share,
    )


def _reordered(state: RunState, times: ev.LayerTimes, row: Layer, compute: float) -> Finding:
    name = str(row["layer"])
    share = _layout_share(times, name) * compute
    added = [op for op in times.ops if op.get("layer") == name and op.get("layout")]
    return Finding(
        id="compute.layer",
        severity=severity_of(share) or "info",
        title=f"Around layer {name} data is put into another order: {units.share(share)} of each step",
        lines=[
            f"{op['op']}: {units.duration(op['ms'] / 1e3)} a step, {op['runs']:.0f} of them, put there by TensorFlow's "
            "layout optimizer"
            for op in added[:3]
        ],
        next="Give the layers the order that this device computes in, and the data too: data_format="
        f"'{_other_order(state)}'.",
        evidence={"layer": name, "class": row["class"], "reason": "layout", "share": round(share, 4)},
        share=share,
    )


def _over_the_batch(state: RunState, times: ev.LayerTimes, row: Layer) -> bool:
    """Whether a loop of the layer turns as often as the batch has examples, in a class that does not loop over time."""
    turns, batch = times.turns.get(str(row["layer"]), 0.0), state.batch_size
    if batch is None or turns < LEAST_TURNS or abs(turns - batch) > AS_OFTEN * batch:
        return False
    return not any(word in str(row["class"]) for word in RECURRENT)


def _layout_share(times: ev.LayerTimes, name: str) -> float:
    """Of compute, what the layout optimizer put around a layer takes, as far as the longest ops tell."""
    spent_ms = sum(row["ms"] for row in times.ops if row.get("layer") == name and row.get("layout"))
    return spent_ms / (sum(times.parts.values()) or 1.0)


def _other_order(state: RunState) -> str:
    """On a GPU convolutions compute with channels first, in 16 bits with channels last; on a CPU with channels last."""
    gpu = state.placement is not None and not state.placement.predicted
    half = any("16" in str(row.get("dtype")) for row in (state.placement.layers if state.placement else ()))
    return "channels_first" if gpu and not half else "channels_last"


def _optimizer(state: RunState, times: ev.LayerTimes, compute: float) -> Iterator[Finding]:
    whole_ms = sum(times.parts.values())
    spent_ms = times.parts.get("optimizer", 0.0) + times.idle.get("optimizer", 0.0)
    share = spent_ms / whole_ms * compute
    severity = severity_of(share)
    if severity is None or len(state.optimizers) != 1:
        return
    (told,) = state.optimizers.values()
    found = _tables(state, times, told) or _norm(times, told, compute) or _many(times, told)
    if found is None:
        return
    reason, words, lines, advice = found
    yield Finding(
        id="compute.optimizer",
        severity=severity,
        title=f"The optimizer's update takes {units.share(share)} of each step: {words}",
        lines=[
            *lines,
            f"{told.cls}: {units.duration(spent_ms / 1e3)} of {units.duration(whole_ms / 1e3)} of compute, "
            f"{told.variables} variables with {units.number(told.parameters)} parameters",
        ],
        next=advice,
        evidence={
            "share": round(share, 4),
            "reason": reason,
            "optimizer": told.cls,
            "variables": told.variables,
            "parameters": told.parameters,
            "tables": told.sparse if reason == "whole_tables" else [],
            "global_clipnorm": told.global_clipnorm,
        },
        share=share,
    )


Reason = tuple[str, str, list[str], str]
"""Its name in the evidence, the title's end, lines, what to do."""


def _of_update_ms(times: ev.LayerTimes, kinds: tuple[str, ...]) -> float:
    return sum(row["ms"] for row in times.ops if row["part"] == "optimizer" and row["op"].startswith(kinds))


def _touched(state: RunState, table: SparseUpdate) -> int | None:
    touched, each = table.get("touched"), table.get("touched_each")
    if touched is None and each is not None and state.batch_size is not None:
        return each * state.batch_size
    return touched


def rare_tables(state: RunState, told: ev.Optimizer) -> list[tuple[SparseUpdate, int]]:
    """The tables that the update works on as a whole, with the rows that a step looked up at most: few of them. Empty
    unless they hold most of the parameters."""
    found = [
        (table, touched)
        for table in told.sparse
        if table["slots"] and (touched := _touched(state, table)) is not None and touched * RARE <= table["rows"]
    ]
    return found if sum(table["elements"] for table, _ in found) >= MOSTLY * told.parameters else []


def _tables(state: RunState, times: ev.LayerTimes, told: ev.Optimizer) -> Reason | None:
    """An update that works on all rows of a table of which the step looked up a few."""
    found = rare_tables(state, told)
    spent_ms = times.parts.get("optimizer", 0.0)
    dense_ms = spent_ms - _of_update_ms(times, SCATTERS)
    if not found or dense_ms < MOSTLY * spent_ms:
        return None
    table, touched = max(found, key=lambda pair: pair[0]["elements"])
    rows = units.number(table["rows"])
    return (
        "whole_tables",
        f"all {rows} rows of a table, of which it looks up {units.number(touched)} at most",
        [
            f"{table['variable']}: {rows} rows, {units.number(table['elements'])} numbers, and as many in each of "
            f"{told.cls}'s {table['slots']} slots"
            for table, _ in found[:3]
        ],
        "An optimizer without slots updates the rows of an embedding that were looked up, and no others: "
        f"keras.optimizers.SGD without momentum, for the table at least. {told.cls} changes its slots in every row.",
    )


def _norm(times: ev.LayerTimes, told: ev.Optimizer, compute: float) -> Reason | None:
    norm_ms = _of_update_ms(times, NORM_OPS)
    if told.global_clipnorm is None or norm_ms / sum(times.parts.values()) * compute < WARNING_SHARE:
        return None
    return (
        "global_clipnorm",
        "the norm over all gradients",
        [f"global_clipnorm={told.global_clipnorm:g}: {units.duration(norm_ms / 1e3)} a step in its sums alone"],
        "Clip each gradient by itself (clipnorm or clipvalue), or leave it out where the loss stays finite; "
        "jit_compile=True makes one program of it.",
    )


def _many(times: ev.LayerTimes, told: ev.Optimizer) -> Reason | None:
    ops = sum(row["runs"] for row in times.ops if row["part"] == "optimizer" and row["op"] != "(small ops)")
    if ops < MANY_OPS or not told.variables or told.parameters / told.variables > SMALL_ELEMENTS:
        return None
    each = round(told.parameters / told.variables)
    return (
        "many_variables",
        f"{ops:.0f} operations for {told.variables} small variables",
        [f"{units.number(each)} parameters a variable: starting an operation takes longer than its work"],
        "Compile the step with XLA (jit_compile=True in model.compile or tf.function), which makes one program of the "
        "update; or fewer, larger variables.",
    )
