"""CPU: what the training's processes use, and the busiest core."""

from __future__ import annotations

from tfgpu_tui.core import units
from tfgpu_tui.ui import plot
from tfgpu_tui.ui.draw import Box, Content, Row, note, static, whole_groups
from tfgpu_tui.ui.panes.gpu import why_no_gpu
from tfgpu_tui.ui.view import View


def content(view: View, box: Box) -> Content:
    """Tree load as an area against all the CPUs that it may use, with the numbers above."""
    state = view.state
    host = state.host
    if host is None:
        return note((("CPU", ""),), view.waiting_words(), box.width)
    cores = state.environment.cpu_quota or state.environment.cpu_count or len(host.cores_percent) or None
    whole = cores * 100.0 if cores else None
    of = f" of {units.percent(whole)}" if whole else ""
    title: Row = ((f"CPU {units.percent(host.tree_cpu_percent)}{of}", ""),)
    if state.ended is not None:
        title = ((f"CPU {units.percent(state.series['tree_cpu'].mean())}{of} on average", ""),)
    rows: list[Row] = [_numbers(view, box.width)]
    said = any(finding.id.startswith("gpu.") for finding, _ in view.findings)
    if not view.has_gpu and state.gpu_status is not None and not said and box.height >= 6:
        rows.append(((" GPU: ", "muted"), (why_no_gpu(view), "muted")))
    if box.zoomed and box.height >= 12:
        rows += _cores(view, box.width)
    height = max(1, box.height - len(rows) - 1)
    cells = max(1, box.width - plot.AXIS_WIDTH)
    window = view.window
    values = state.series["tree_cpu"].columns(window.begin, window.end, cells * (2 if view.glyphs.braille else 1))
    top = whole or plot.nice_ceiling(max((v for v in values if v is not None), default=100.0))
    drawn = plot.labelled(plot.area(values, top, height, "info", view.glyphs), f"{top:.0f} %"[:5], "0", view.glyphs)
    time = view.time_row(cells)
    return static(title, [*rows, *drawn, time])


def _numbers(view: View, width: int) -> Row:
    host = view.state.host
    assert host is not None
    busiest = max(host.cores_percent, default=None)
    groups: list[Row] = [
        (("busiest core ", "muted"),
         (units.percent(busiest), "warning" if busiest is not None and busiest >= 97 else "")),
    ]  # fmt: skip
    if host.throttled_percent:
        groups.append((("held back by the quota ", "muted"), (units.percent(host.throttled_percent), "warning")))
    groups.append((("machine ", "muted"), (units.percent(host.cpu_percent), "")))
    if host.disk_read_bps is not None:
        groups.append((("reads ", "muted"), (units.rate(host.disk_read_bps), "")))
    return whole_groups(groups, width)


def _cores(view: View, width: int) -> list[Row]:
    host = view.state.host
    assert host is not None
    each = 12
    per_row = max(1, (width - 1) // each)
    cells = [f"{i:>3} {units.percent(load):>6}  " for i, load in enumerate(host.cores_percent[:64])]
    rows: list[Row] = [
        ((" processes ", "muted"), (f"{host.processes or view.glyphs.dash}", ""), ("  threads ", "muted"),
         (f"{host.threads or view.glyphs.dash}", ""), ("  written ", "muted"), (units.rate(host.disk_write_bps), ""),
         ("  network ", "muted"), (units.rate(host.net_recv_bps), "")),
        ((" core load", "muted"),),
    ]  # fmt: skip
    rows += [(("".join(cells[i : i + per_row]), ""),) for i in range(0, len(cells), per_row)]
    return rows
