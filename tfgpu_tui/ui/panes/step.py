"""Step time: where each step's time goes, stacked over time: input wait, compute, host."""

from __future__ import annotations

from tfgpu_tui.core import compute_parts, units
from tfgpu_tui.core.totals import StepTotals
from tfgpu_tui.terminal.lines import printable
from tfgpu_tui.ui import plot
from tfgpu_tui.ui.draw import Box, Content, Role, Row, Span, clip, note, static, width_of
from tfgpu_tui.ui.view import View

LAYERS: tuple[tuple[str, Role], ...] = (("input_wait", "input"), ("compute", "compute"), ("host", "host"))
SERIES = ("wait_ms", "compute_ms", "host_ms")
ROLES: tuple[Role, ...] = ("input", "compute", "host")
DETAIL_ROWS = 9
LEAST_HEIGHT, ROOMY_HEIGHT = 6, 9
"""Rows of the pane from which on compute has one line, and two."""
ROOMY_WIDTH = 50
MOST_NAME = 24


def content(view: View, box: Box) -> Content:
    """The plot with its shares in words above it; zoomed, the numbers behind it as well."""
    current = view.state.current()
    if not current.steps:
        return note((("step time", ""),), view.waiting_words(), box.width)
    title: Row = ((f"step {units.duration(current.mean_s)}", ""),)
    legend = _legend(current, view, box.width)
    legend += _compute(view, box)
    details = _details(view, box.width) if box.zoomed and box.height >= 24 else []
    height = max(1, box.height - len(legend) - len(details) - 1)
    return static(title, [*legend, *_plot(view, box.width, height), *details])


def _legend(current: StepTotals, view: View, width: int) -> list[Row]:
    """`▒ input 61 %  █ compute 37 %  ░ host 2 %`; in less room without the glyphs' words' ends."""
    shares = current.shares()
    for words, gap in ((("input", "compute", "host"), "  "), (("in", "comp", "host"), " ")):
        row: list[Span] = [(" ", "")]
        for (key, role), word, glyph in zip(LAYERS, words, view.glyphs.layers, strict=True):
            row += [(f"{glyph} ", role), (f"{word} ", ""), (units.share(shares[key]), "bold"), (gap, "")]
        if width_of(row) - len(gap) <= width:
            break
    return [tuple(row[:-1])]


def _compute(view: View, box: Box) -> list[Row]:
    """`backward 62 %  forward 20 %  optimizer 14 %  …`: what compute is made of, the greatest first, and the layers
    with most of it where there is room for two lines; nothing where that isn't known, or the plot needs the room."""
    times, shares = view.state.layer_times, view.state.compute_parts()
    if times is None or not shares or box.height < LEAST_HEIGHT:
        return []
    label = "of compute:" if box.width >= ROOMY_WIDTH else "of it:"
    lines = [_listed(label, [(compute_parts.words(part), share) for part, share in shares.items()], box.width)]
    hottest = [(printable(name), sum(row.values())) for name, row in compute_parts.layers(times)]
    if hottest and box.height >= ROOMY_HEIGHT:
        lines.append(_listed("by layer:", hottest, box.width))
    return lines


def _listed(label: str, items: list[tuple[str, float]], width: int) -> Row:
    """As many as fit, without those below half a percent."""
    row: list[Span] = [(" ", ""), (label, "muted")]
    for name, share in items:
        more: list[Span] = [("  ", ""), (f"{clip(name, MOST_NAME)} ", ""), (units.share(share), "bold")]
        if share < 0.005 or width_of([*row, *more]) > width:
            break
        row += more
    return tuple(row)


def _plot(view: View, width: int, height: int) -> list[Row]:
    state, window = view.state, view.window
    cells = max(1, width - plot.AXIS_WIDTH)
    layers = [state.series[name].columns(window.begin, window.end, cells) for name in SERIES]
    totals = [sum(p or 0.0 for p in parts) for parts in zip(*layers, strict=True)]
    usual_s = max(state.judged.percentile_s(0.5) or 0.0, state.current().mean_s or 0.0)
    top = plot.nice_ceiling(_usual_highest(totals, usual_s * 1e3))
    rows = plot.stack(layers, top, height, ROLES, view.glyphs)
    label, unit = (f"{top:g}", "ms") if top < 1e4 else (f"{top / 1e3:g}", "s")
    out = plot.labelled(rows, label, unit, view.glyphs)
    return [*out, view.time_row(cells)]


def _usual_highest(totals: list[float], usual: float) -> float:
    """The scale leaves out single spikes that would flatten everything else, and a first step that traces for as long
    as all others together: no more than three times a step's `usual` time."""
    known = sorted(t for t in totals if t > 0)
    if not known:
        return 1.0
    highest = min(known[-1], 1.5 * known[len(known) // 2])
    return min(highest, 3 * usual) if usual else highest


def _details(view: View, width: int) -> list[Row]:
    """p50 and p95, epochs' edges, and who spent the host's share."""
    steady = view.state.judged if view.state.judged.steps else view.state.train
    rows: list[Row] = [
        (),
        ((f" {steady.steps} steps after warm-up", "bold"), (f", {view.state.train.steps} in all", "muted")),
        (
            (" median ", "muted"), (units.duration(steady.percentile_s(0.5)), ""),
            ("   95 % below ", "muted"), (units.duration(steady.percentile_s(0.95)), ""),
            ("   shortest ", "muted"), (units.duration(steady.step_min_s), ""),
            ("   longest ", "muted"), (units.duration(steady.step_max_s), ""),
        ),
        (
            (" between epochs ", "muted"), (units.duration(view.state.edge_s), ""),
            (", of it validation ", "muted"), (units.duration(view.state.validation_s), ""),
            ("   traced again ", "muted"), (f"{steady.traces} times", ""),
        ),
    ]  # fmt: skip
    if steady.wait_bound:
        rows.append(((clip(f" input wait is an upper bound: {steady.wait_bound}", width), "warning"),))
    for name, seconds in sorted(steady.callbacks.items(), key=lambda kv: -kv[1])[:4]:
        each = seconds / steady.steps if steady.steps else None
        rows.append(((" callback ", "muted"), (clip(name, 32), ""), (f"  {units.duration(each)} a step", "muted")))
    return rows[:DETAIL_ROWS]
