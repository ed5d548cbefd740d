"""On which device every layer really ran, as a tree by depth, and why not on the GPU."""

from __future__ import annotations

from typing import Any

from tfgpu_tui import units
from tfgpu_tui.terminal import printable
from tfgpu_tui.ui import table
from tfgpu_tui.ui.draw import Box, Content, Role, Row, note
from tfgpu_tui.ui.table import Cell, Column
from tfgpu_tui.ui.view import View

COLUMNS = (
    Column("layer", least=16, most=40),
    Column("class", least=11, most=22, yields=5),
    Column("forward", least=17, most=24),
    Column("backward", least=9, most=24, yields=3),
    Column("variables", least=9, most=16, yields=4),
    Column("weights", right=True, least=7, yields=6),
    Column("dtype", least=7, most=12, yields=7),
    Column("why / asked for", least=24, most=80, yields=1, grow=True),
)


def content(view: View, box: Box) -> Content:
    """A table with one row a layer, in the model's order."""
    placement = view.state.placement
    if placement is None or not placement.layers:
        words = view.waiting_words()
        if view.state.train.steps and view.state.running:
            words = "the placement is read from TensorFlow's final graph after the first steps"
        if "placement" in view.state.hooks_off:
            words = f"not known: {view.state.hooks_off['placement']}"
        return note((("placement", ""),), words, box.width)
    gpu_wanted = _anything_on_gpu(placement.layers)
    rows = [_cells(layer, gpu_wanted, view) for layer in placement.layers]
    widths = table.layout(COLUMNS, rows, box.width - 1)
    return Content(
        title=(("placement", ""),),
        right=_summary(placement.layers),
        pinned=[((" ", ""), *table.head(COLUMNS, widths))],
        count=len(rows),
        line=lambda i: ((" ", ""), *table.body(COLUMNS, rows[i], widths)),
    )


def _anything_on_gpu(layers: list[dict[str, Any]]) -> bool:
    return any("GPU" in str(d) for layer in layers for d in (layer.get("forward") or {}))


def _main_device(layer: dict[str, Any]) -> str | None:
    forward = layer.get("forward") or {}
    return max(forward, key=lambda d: forward[d]) if forward else None


def _summary(layers: list[dict[str, Any]]) -> Row:
    """`58 layers on GPU:0 · 2 on CPU:0`, counted at the leaves."""
    counts: dict[str, int] = {}
    for i, layer in enumerate(layers):
        following = layers[i + 1] if i + 1 < len(layers) else None
        has_children = following is not None and (following.get("depth") or 0) > (layer.get("depth") or 0)
        device = _main_device(layer)
        if device and not has_children and not str(layer.get("layer", "")).startswith("("):
            counts[device] = counts.get(device, 0) + 1
    text = " · ".join(f"{n} layer{'s' if n != 1 else ''} on {printable(d)}" for d, n in sorted(counts.items()))
    return ((text, "muted"),) if text else ()


def _cells(layer: dict[str, Any], gpu_wanted: bool, view: View) -> list[Cell]:
    depth = int(layer.get("depth") or 0)
    name = printable(str(layer.get("layer") or "?"))
    short = name.rsplit("/", 1)[-1] if depth else name
    forward = layer.get("forward") or {}
    role = _device_role(forward, gpu_wanted)
    asked, reason = layer.get("asked"), layer.get("reason")
    why = printable(str(reason)) if reason else ""
    if asked:
        why = f"asked for {printable(str(asked))}" + (f": {why}" if why else "")
    parameters = layer.get("parameters")
    dtype = printable(str(layer.get("dtype") or units.UNKNOWN))
    return [
        ("  " * min(depth, 8) + short, "muted" if name.startswith("(") else ""),
        (printable(str(layer.get("class") or "")), "muted"),
        (_devices(forward), role),
        (_devices(layer.get("backward") or {}), _device_role(layer.get("backward") or {}, gpu_wanted)),
        (", ".join(printable(str(v)) for v in layer.get("variables") or ()) or units.UNKNOWN, ""),
        (units.number(parameters) if parameters else units.UNKNOWN, ""),
        (dtype + (" XLA" if layer.get("xla") else ""), "warning" if dtype == "float64" else "muted"),
        (why, "warning" if why and role == "warning" else "muted"),
    ]


def _devices(ops: dict[str, int]) -> str:
    """`GPU:0`, or with the counts where a layer is split: `GPU:0 41, CPU:0 2`."""
    if not ops:
        return units.UNKNOWN
    if len(ops) == 1:
        return printable(str(next(iter(ops))))
    return ", ".join(f"{printable(str(d))} {n}" for d, n in sorted(ops.items(), key=lambda kv: -kv[1]))


def _device_role(ops: dict[str, int], gpu_wanted: bool) -> Role:
    if not ops:
        return "muted"
    if not gpu_wanted:
        return ""
    return "good" if all("GPU" in str(d) for d in ops) else "warning"
