"""Memory: of the GPU, what TensorFlow uses and has reserved against the limit; of the host, the training's own."""

from __future__ import annotations

from tfgpu_tui import units
from tfgpu_tui.state import GpuView
from tfgpu_tui.terminal import printable
from tfgpu_tui.ui import plot
from tfgpu_tui.ui.draw import Box, Content, Row, note, static
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
    mine = sum(p.get("memory_bytes") or 0 for p in gpu.latest.get("processes") or () if p.get("ours")) or None
    title: Row = ((f"GPU {gpu.index} memory {units.size(used)} of {units.size(total)}", ""),)
    rows: list[Row] = [
        (
            (" in use ", "muted"), (units.size(tensorflow.get("current_bytes")), "memory"),
            ("  peak ", "muted"), (units.size(tensorflow.get("peak_bytes")), ""),
        ),
        (
            (" reserved ", "muted"), (units.size(mine), ""),
            ("  host ", "muted"), (units.size(view.state.host.tree_rss_bytes if view.state.host else None), ""),
        ),
    ]  # fmt: skip
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
    return static(title, [*rows, *drawn, _time(view, cells)])


def _host(view: View, box: Box) -> Content:
    host, state = view.state.host, view.state
    assert host is not None
    title: Row = ((f"host memory {units.size(host.tree_rss_bytes)}", ""),)
    limit = state.environment.memory_limit_bytes or host.memory_total_bytes
    rows: list[Row] = [
        (
            (" peak ", "muted"), (units.size(state.rss_peak_bytes), ""),
            ("  machine ", "muted"),
            (f"{units.size(host.memory_used_bytes)} of {units.size(limit)}", ""),
        )
    ]  # fmt: skip
    rows += [_tensorflow_numbers(device, values) for device, values in sorted(state.tf_memory.items())]
    window = view.window
    cells = max(1, box.width - plot.AXIS_WIDTH)
    values = state.series["rss"].columns(window.begin, window.end, cells * (2 if view.glyphs.braille else 1))
    top = plot.nice_bytes(max((v for v in values if v is not None), default=None))
    height = max(1, box.height - len(rows) - 1)
    drawn = plot.labelled(plot.area(values, top, height, "memory", view.glyphs), _short(top), "0", view.glyphs)
    return static(title, [*rows, *drawn, _time(view, cells)])


def _tensorflow_numbers(device: str, values: dict[str, object]) -> Row:
    def size(key: str) -> str:
        value = values.get(key)
        return units.size(float(value) if isinstance(value, (int, float)) else None)

    return (
        (f" {printable(device)} in use ", "muted"), (size("current_bytes"), ""),
        ("  peak ", "muted"), (size("peak_bytes"), ""),
    )  # fmt: skip


def _time(view: View, cells: int) -> Row:
    return plot.time_row(view.window, view.state.started or 0.0, cells, list(view.state.marks), view.glyphs)


def _short(size: float) -> str:
    """A scale's top in five cells: `15.9G`, `512M`."""
    for unit, limit in (("T", 2**40), ("G", 2**30), ("M", 2**20)):
        if size >= limit:
            value = size / limit
            return f"{value:.0f}{unit}" if value >= 100 or value == int(value) else f"{value:.1f}{unit}"
    return f"{size / 1024:.0f}K"
