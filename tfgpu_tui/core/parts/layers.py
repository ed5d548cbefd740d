"""The model of a process, on which devices its layers run, and the settings in force there (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace

from tfgpu_tui.core import events as ev
from tfgpu_tui.core.quick import dataclass

MAX_LOOPS = 64
MAX_OPTIMIZERS = 16


@dataclass
class Layers:
    """What is computed, and where."""

    model: ev.Model | None = None
    placement: ev.Placement | None = None
    layer_times: ev.LayerTimes | None = None
    knobs_in_force: ev.Knobs | None = None
    unrolled: dict[str, ev.UnrolledLoop] = field(default_factory=dict)
    """By the place of the loop."""
    graph_python: ev.GraphPython | None = None
    optimizers: dict[str, ev.Optimizer] = field(default_factory=dict)
    """By name."""


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


def unrolled(layers: Layers, e: ev.UnrolledLoop) -> None:
    place = f"{e.file}:{e.line}"
    if place in layers.unrolled or len(layers.unrolled) < MAX_LOOPS:
        layers.unrolled[place] = e


def graph_python(layers: Layers, e: ev.GraphPython) -> None:
    layers.graph_python = e


def optimizer(layers: Layers, e: ev.Optimizer) -> None:
    if e.name in layers.optimizers or len(layers.optimizers) < MAX_OPTIMIZERS:
        layers.optimizers[e.name] = e


def on_a_gpu(ops: Mapping[str, int]) -> str:
    """Where a layer would run on a machine with a GPU: `GPU`, or with the operations that would not: `GPU, CPU 2`."""
    on, off = ops.get("GPU"), ops.get("CPU")
    return ", ".join([*(["GPU"] if on else []), *([f"CPU {off}"] if off else [])])
