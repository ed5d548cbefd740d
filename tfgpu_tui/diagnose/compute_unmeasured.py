"""Family F: what is known of a layer or of the optimizer where nothing looked inside the step (pure).

A headless run is not looked into by itself, nor is a short one. What its graph holds is known all the same; that it
costs much is not, so it is information, and says how it is measured.
"""

from __future__ import annotations

from collections.abc import Iterator

from tfgpu_tui.core import units
from tfgpu_tui.core.rows import Layer, is_layer
from tfgpu_tui.core.state import STEADY_STEPS, RunState
from tfgpu_tui.diagnose.compute_inside import MOSTLY, RECURRENT, rare_tables
from tfgpu_tui.diagnose.finding import Finding

LEAST_ELEMENTS = 1_000_000
"""Of a table: the update of a smaller one takes no time that matters."""
UNMEASURED = "how long it takes is not measured: nothing looked inside the step"
MEASURE = "`--set profile=5` measures it"
KNOB = "profile=5"


def findings(state: RunState) -> Iterator[Finding]:
    """compute.layer, compute.optimizer: of steps that are mostly compute."""
    times, compute = state.layer_times, state.judged.shares()["compute"]
    if (times is not None and times.parts) or compute is None:
        return
    if compute < MOSTLY or state.judged.steps < STEADY_STEPS:
        return
    yield from _loop(state)
    yield from _table(state)


def _loop(state: RunState) -> Iterator[Finding]:
    rows = state.placement.layers if state.placement else []
    # No profile tells the time of a layer that XLA compiled.
    looping = [row for row in rows if row.get("loops") and is_layer(row) and not (_over_time(row) or row.get("xla"))]
    if not looping:
        return
    row = looping[0]
    yield Finding(
        id="compute.layer",
        severity="info",
        title=f"Layer {row['layer']} runs a loop in each step",
        lines=[f"{row['class']} {row['layer']}: {row['loops']} in the forward pass" for row in looping[:3]],
        next=f"{MEASURE}. Where the loop is over the examples (tf.map_fn, tf.vectorized_map that fell back): compute "
        "all of them at once, or in the input pipeline.",
        knob=KNOB,
        evidence={"layer": row["layer"], "class": row["class"], "reason": "loop", "loops": row["loops"]},
        incomplete=UNMEASURED,
    )


def _over_time(row: Layer) -> bool:
    return any(word in str(row["class"]) for word in RECURRENT)


def _table(state: RunState) -> Iterator[Finding]:
    if len(state.optimizers) != 1:
        return
    (told,) = state.optimizers.values()
    found = [pair for pair in rare_tables(state, told) if pair[0]["elements"] >= LEAST_ELEMENTS]
    if not found:
        return
    table, touched = max(found, key=lambda pair: pair[0]["elements"])
    rows = units.number(table["rows"])
    yield Finding(
        id="compute.optimizer",
        severity="info",
        title=f"The optimizer's update works on all {rows} rows of a table, of which a step looks up "
        f"{units.number(touched)} at most",
        lines=[
            f"{table['variable']}: {units.number(table['elements'])} numbers, and as many in each of {told.cls}'s "
            f"{table['slots']} slots, of {units.number(told.parameters)} parameters"
        ],
        next=f"{MEASURE}. An optimizer without slots (keras.optimizers.SGD without momentum, for the table at least) "
        "updates the rows that were looked up, and no others.",
        knob=KNOB,
        evidence={
            "reason": "whole_tables",
            "optimizer": told.cls,
            "variables": told.variables,
            "parameters": told.parameters,
            "tables": [table for table, _ in found],
        },
        incomplete=UNMEASURED,
    )
