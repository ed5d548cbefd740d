"""The model of a process, on which devices its layers run, and the settings in force there (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tfgpu_tui.core import events as ev


@dataclass
class Layers:
    """What is computed, and where."""

    model: ev.Model | None = None
    placement: ev.Placement | None = None
    layer_times: ev.LayerTimes | None = None
    knobs_in_force: ev.Knobs | None = None


def model(layers: Layers, e: ev.Model) -> None:
    layers.model = e


def placement(layers: Layers, e: ev.Placement) -> None:
    layers.placement = e


def layer_times(layers: Layers, e: ev.LayerTimes) -> None:
    # A refusal never replaces what was measured.
    if layers.layer_times is None or e.refused is None or layers.layer_times.refused is not None:
        layers.layer_times = e


def knobs(layers: Layers, e: ev.Knobs) -> None:
    """Each part of the agent tells of its own knobs."""
    before = layers.knobs_in_force
    if before is not None:
        e = replace(e, in_force={**before.in_force, **e.in_force}, notes={**before.notes, **e.notes})
    layers.knobs_in_force = e


def on_a_gpu(ops: Mapping[str, int]) -> str:
    """Where a layer would run on a machine with a GPU: `GPU`, or with the operations that would not: `GPU, CPU 2`."""
    on, off = ops.get("GPU"), ops.get("CPU")
    return ", ".join([*(["GPU"] if on else []), *([f"CPU {off}"] if off else [])])
