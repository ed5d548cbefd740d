"""On which device every layer really ran, as a tree by depth that folds, and why not on the GPU."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from tfgpu_tui.core import units
from tfgpu_tui.core.events import Placement
from tfgpu_tui.core.parts.layers import on_a_gpu
from tfgpu_tui.core.rows import Layer, is_layer
from tfgpu_tui.terminal.lines import printable
from tfgpu_tui.ui import table
from tfgpu_tui.ui.draw import Box, Content, Role, Row, marked, note
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
    Column("ms", right=True, least=5, yields=2),
    Column("on a GPU", least=8, most=16, yields=2),
    Column("why / asked for", least=24, most=120, yields=1, grow=True),
)
INPUT = "(input)"
MANY_STEPS = 100
"""By then the graph of a step was collected, where TensorFlow has one."""


def content(view: View, box: Box) -> Content:
    """A table with one row a layer, in the model's order."""
    found = view.state.placement
    if found is None or not found.layers:
        return note((("placement", ""),), _why_empty(view), box.width)
    layers = rows(view)
    title: Row = (("placement", ""),)
    if view.only_off_gpu:
        title = (("placement: not on the GPU", ""), (f"  {view.key('off_gpu')}", "key"), (" all", "muted"))
        if not layers:
            return note(title, _none_off(found), box.width)
    parents = set() if view.only_off_gpu else _parents(found.layers)
    wanted = gpu_used(found.layers)
    cells = [_cells(layer, wanted, str(layer.get("layer")) in parents, view) for layer in layers]
    # A column that nobody filled only takes room.
    columns = [
        c for i, c in enumerate(COLUMNS) if i in (0, 2) or any(row[i][0] not in ("", units.UNKNOWN) for row in cells)
    ]
    kept = [COLUMNS.index(c) for c in columns]
    cells = [[row[i] for i in kept] for row in cells]
    widths = table.layout(columns, cells, box.width - 1)
    words = view.search.text if view.search is not None and view.search.pane == "placement" else ""

    def line(i: int) -> Row:
        row = marked(table.body(columns, cells[i], widths), words, "hit")
        if box.focused and i == min(box.cursor, len(layers) - 1):
            return ((view.glyphs.focus, "focus"), *((text, "cursor") for text, _ in row))
        return ((" ", ""), *row)

    return Content(
        title=title,
        right=_summary(found.layers),
        pinned=[((" ", ""), *table.head(columns, widths))],
        count=len(layers),
        line=line,
        selectable=len(layers),
    )


def drawn_from(view: View) -> object:
    """Equal as long as `content` draws the same in the same box; None where it may always be another."""
    state = view.state
    if state.placement is None or not state.placement.layers:
        return None
    return state.placement, state.layer_times, view.folded, view.only_off_gpu, view.search


def rows(view: View) -> list[Layer]:
    """The layers that are shown: without what is folded, or only those that are not on the GPU."""
    found = view.state.placement
    layers = found.layers if found else []
    if found is not None and view.only_off_gpu:
        used = gpu_used(layers)
        return [layer for layer in layers if without_kernel(layer) or (used and off_gpu(layer))]
    out: list[Layer] = []
    hidden_below: int | None = None
    for layer in layers:
        depth = int(layer.get("depth") or 0)
        if hidden_below is not None and depth > hidden_below:
            continue
        hidden_below = depth if str(layer.get("layer")) in view.folded else None
        out.append(layer)
    return out


def fold(view: View, cursor: int, fold: bool | None = None) -> frozenset[str]:
    """What is folded after the chosen layer was folded (True), unfolded (False) or turned (None). A layer without
    children stands for its parent."""
    shown = rows(view)
    if not shown or view.only_off_gpu:
        return view.folded
    at = min(cursor, len(shown) - 1)
    parents = _parents(view.state.placement.layers if view.state.placement else [])
    name = str(shown[at].get("layer"))
    if name not in parents and fold:
        depth = int(shown[at].get("depth") or 0)
        above = [str(r.get("layer")) for r in shown[:at] if int(r.get("depth") or 0) < depth]
        name = above[-1] if above else name
    if name not in parents:
        return view.folded
    closing = name not in view.folded if fold is None else fold
    return view.folded | {name} if closing else view.folded - {name}


def off_gpu(layer: Layer) -> bool:
    """True where any of its operations ran elsewhere than on a GPU; a step's input comes from the host by nature."""
    if layer.get("layer") == INPUT:
        return False
    devices = [*(layer.get("forward") or {}), *(layer.get("backward") or {})]
    return any("GPU" not in str(device) for device in devices)


def without_kernel(layer: Layer) -> bool:
    """True where an operation of it would stay on the CPU of a machine with a GPU. Those that TensorFlow keeps in the
    host's memory by design (shapes and their like) are none of them."""
    return any(cause.get("why") != "host_memory" for cause in layer.get("not_on_gpu") or ())


def gpu_used(layers: Sequence[Layer]) -> bool:
    """True where anything ran on a GPU: only then a CPU is worth a colour."""
    return any("GPU" in str(d) for layer in layers for d in (layer.get("forward") or {}))


def _none_off(found: Placement) -> str:
    if gpu_used(found.layers):
        return "every layer ran on the GPU"
    if found.predicted:
        return "no layer ran on a GPU in this run; on a machine with one, all of their operations have a GPU kernel"
    return "no layer ran on a GPU in this run, and it is not known from which operations have a GPU kernel"


def _why_empty(view: View) -> str:
    off = next((why for hook, why in view.state.hooks_off.items() if "placement" in hook), None)
    if off is not None:
        return f"not known: {printable(off)}"
    if view.state.train.steps >= MANY_STEPS:
        return "not known: TensorFlow handed out no graph of a step"
    if view.state.train.steps and view.state.running:
        return "the placement is read from TensorFlow's final graph after the first steps"
    return view.waiting_words()


def _parents(layers: Sequence[Layer]) -> set[str]:
    """Layers that have others below them."""
    return {str(a.get("layer")) for a, b in pairwise(layers) if int(b.get("depth") or 0) > int(a.get("depth") or 0)}


def _main_device(layer: Layer) -> str | None:
    forward = layer.get("forward") or {}
    return max(forward, key=lambda d: forward[d]) if forward else None


def _summary(layers: Sequence[Layer]) -> Row:
    """`58 layers on GPU:0 · 2 on CPU:0`, counted at the leaves."""
    counts: dict[str, int] = {}
    parents = _parents(layers)
    for layer in layers:
        name, device = str(layer.get("layer") or ""), _main_device(layer)
        if device and name not in parents and is_layer(layer):
            counts[device] = counts.get(device, 0) + 1
    text = " · ".join(f"{n} layer{'s' if n != 1 else ''} on {printable(d)}" for d, n in sorted(counts.items()))
    return ((text, "muted"),) if text else ()


def _cells(layer: Layer, gpu_wanted: bool, parent: bool, view: View) -> list[Cell]:
    depth = int(layer.get("depth") or 0)
    name = printable(str(layer.get("layer") or "?"))
    short = name.rsplit("/", 1)[-1] if depth else name
    sign = (view.glyphs.closed if str(layer.get("layer")) in view.folded else view.glyphs.opened) if parent else ""
    forward = layer.get("forward") or {}
    role = "muted" if name == INPUT else _device_role(forward, gpu_wanted)
    why = _why(layer)
    parameters = layer.get("parameters")
    dtype = printable(str(layer.get("dtype") or units.UNKNOWN))
    ms = view.state.layer_ms(layer)
    return [
        ("  " * min(depth, 8) + (f"{sign} " if sign else "") + short, "" if is_layer(layer) else "muted"),
        (printable(str(layer.get("class") or "")), "muted"),
        (_devices(forward), role),
        (_devices(layer.get("backward") or {}), _device_role(layer.get("backward") or {}, gpu_wanted)),
        (", ".join(printable(str(v)) for v in layer.get("variables") or ()) or units.UNKNOWN, ""),
        (units.number(parameters) if parameters else units.UNKNOWN, ""),
        (dtype + (" XLA" if layer.get("xla") else ""), "warning" if dtype == "float64" else "muted"),
        (units.number(ms), ""),
        (on_a_gpu(layer.get("predicted") or {}), "warning" if without_kernel(layer) else "muted"),
        (why, "warning" if why and role == "warning" else "muted"),
    ]


def _why(layer: Layer) -> str:
    """The reason, and the device that was asked for where it got another one."""
    reason = printable(str(layer["reason"])) if layer.get("reason") else ""
    if layer.get("asked"):
        return f"asked for {printable(str(layer['asked']))}" + (f": {reason}" if reason else "")
    return reason


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
