"""Memory: of the GPU, what TensorFlow uses and has reserved against the limit; of the host, the training's own."""

from __future__ import annotations

from tfgpu_tui.core import units
from tfgpu_tui.core.rows import MemoryUse
from tfgpu_tui.core.totals import GpuView
from tfgpu_tui.terminal.lines import printable
from tfgpu_tui.ui import plot
from tfgpu_tui.ui.draw import Box, Content, Row, Span, flowing, note, static
from tfgpu_tui.ui.panes.gpu import shown, tensorflow_name
from tfgpu_tui.ui.view import View


def content(view: View, box: Box) -> Content:
    """The GPU's memory where there is one, else the host's; the numbers of both."""
    gpus = shown(view)
    if gpus:
        return _gpu(view, box, gpus[0])
    if view.state.host is None:
        return note((("memory", ""),), view.waiting_words(), box.width)
    return _host(view, box)


def _gpu(view: View, box: Box, gpu: GpuView) -> Content:
    device = tensorflow_name(view, gpu)
    tensorflow = view.state.tf_memory.get(device or "", {})
    total = gpu.latest.get("memory_total_bytes")
    used = gpu.latest.get("memory_used_bytes")
    mine, others = held_by(gpu)
    ended = view.state.ended is not None
    at_most = gpu.memory.highest if ended else used
    title: Row = (
        (f"GPU {gpu.index} memory {units.size(at_most)} of {units.size(total)}", ""),
        (" at most" if ended else "", "muted"),
    )
    numbers: list[Row] = [
        (("in use ", "muted"), (units.size(tensorflow.get("current_bytes")), "memory")),
        (("peak ", "muted"), (units.size(tensorflow.get("peak_bytes")), "")),
        (("reserved ", "muted"), (units.size(mine), "")),
        (("others ", "muted"), (units.size(others), "foreign" if others else "")),
        (("host ", "muted"), (units.size(_host_now(view)), "")),
    ]
    rows = flowing(numbers, box.width, 2)
    if box.height >= 8 and total:
        rows.append(_bar(view, box.width, float(total), tensorflow.get("current_bytes"), mine, others))
    if box.zoomed:
        rows += _holders(gpu)
    if box.height < 6:
        rows = rows[:1]
    series = view.state.tf_memory_series.get(device or "")
    window = view.window
    cells = max(1, box.width - plot.AXIS_WIDTH)
    count = cells * (2 if view.glyphs.braille else 1)
    top = float(total) if total else plot.nice_bytes(gpu.memory.highest)
    height = max(1, box.height - len(rows) - 1)
    values = (series or gpu.memory).columns(window.begin, window.end, count)
    area = plot.area(values, top, height, "memory", view.glyphs)
    if series is not None and used:
        area = plot.with_limit(area, float(used), top, "reserved", view.glyphs)
    drawn = plot.labelled(area, _short(top), "0", view.glyphs)
    return static(title, [*rows, *drawn, view.time_row(cells)])


def _host_now(view: View) -> float | None:
    """What the training's processes hold; of a run that has ended, the most that they held."""
    if view.state.ended is not None:
        return view.state.rss_peak_bytes
    return view.state.host.tree_rss_bytes if view.state.host else None


def held_by(gpu: GpuView) -> tuple[float | None, float | None]:
    """(bytes that this run's processes hold, bytes that others hold), by NVML's list of processes; None where it has
    none, or leaves their memory out (as inside a container)."""
    processes = gpu.latest.get("processes")
    if not processes:
        return None, None
    known = [(held, bool(p.get("ours"))) for p in processes if (held := p.get("memory_bytes")) is not None]
    mine = sum(held for held, ours in known if ours)
    others = sum(held for held, ours in known if not ours)
    return mine or None, others if known else None


def _bar(view: View, width: int, total: float, in_use: float | None, mine: float | None, others: float | None) -> Row:
    """The whole of the GPU's memory in one row: in use, reserved and not used, others, free."""
    room = max(8, width - 2)
    used, reserved, other = view.glyphs.layers[1], view.glyphs.layers[0], view.glyphs.layers[2]
    first = in_use or 0.0
    parts = (
        (used, "memory", first),
        (reserved, "reserved", max(0.0, (mine or first) - first)),
        (other, "foreign", others or 0.0),
    )
    spans: list[Span] = [(" ", "")]
    cells = 0
    reached = 0.0
    for glyph, role, size in parts:
        reached += size
        upto = min(room, round(reached / total * room))
        if size and upto == cells and cells < room:
            upto += 1  # what is there is seen
        spans.append((glyph * (upto - cells), role))
        cells = upto
    return (*spans, (view.glyphs.dot * (room - cells), "rule"))


def _holders(gpu: GpuView) -> list[Row]:
    """Each process on the GPU."""
    out: list[Row] = []
    for p in (gpu.latest.get("processes") or ())[:8]:
        whose = ("this run", "memory") if p.get("ours") else ("another", "foreign")
        out.append(((f" pid {p.get('pid')}  ", "muted"), (f"{units.size(p.get('memory_bytes')):>10}  ", ""), whose))
    return out


def _host(view: View, box: Box) -> Content:
    host, state = view.state.host, view.state
    assert host is not None
    title: Row = ((f"host memory {units.size(_host_now(view))}", ""), (" at most" if state.ended else "", "muted"))
    limit = state.environment.memory_limit_bytes or host.memory_total_bytes
    numbers: list[Row] = [
        (("peak ", "muted"), (units.size(state.rss_peak_bytes), "")),
        (("machine ", "muted"), (f"{units.size(host.memory_used_bytes)} of {units.size(limit)}", "")),
    ]
    rows = flowing(numbers, box.width, 1)
    rows += [_tensorflow_numbers(device, values) for device, values in sorted(state.tf_memory.items())]
    window = view.window
    cells = max(1, box.width - plot.AXIS_WIDTH)
    values = state.series["rss"].columns(window.begin, window.end, cells * (2 if view.glyphs.braille else 1))
    top = plot.nice_bytes(max((v for v in values if v is not None), default=None))
    height = max(1, box.height - len(rows) - 1)
    drawn = plot.labelled(plot.area(values, top, height, "memory", view.glyphs), _short(top), "0", view.glyphs)
    return static(title, [*rows, *drawn, view.time_row(cells)])


def _tensorflow_numbers(device: str, values: MemoryUse) -> Row:
    return (
        (f" {printable(device)} in use ", "muted"), (units.size(values.get("current_bytes")), ""),
        ("  peak ", "muted"), (units.size(values.get("peak_bytes")), ""),
    )  # fmt: skip


def _short(size: float) -> str:
    """A scale's top in five cells: `15.9G`, `512M`."""
    for unit, limit in (("T", 2**40), ("G", 2**30), ("M", 2**20)):
        if size >= limit:
            value = size / limit
            return f"{value:.0f}{unit}" if value >= 100 or value == int(value) else f"{value:.1f}{unit}"
    return f"{size / 1024:.0f}K"
