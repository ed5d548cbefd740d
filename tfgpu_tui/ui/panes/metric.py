"""One metric over time (the loss, unless its reader chose another)."""

from __future__ import annotations

import math

from tfgpu_tui.core import units
from tfgpu_tui.terminal.lines import printable
from tfgpu_tui.ui import plot
from tfgpu_tui.ui.draw import Box, Content, Row, Span, clip, note, static
from tfgpu_tui.ui.view import View

SMALL_PLOT = 6
"""Rows that a plot wants before another one is drawn below it."""


def chosen(view: View) -> str | None:
    """The metric to draw: the reader's choice, `loss`, or the first that has numbers."""
    series = view.state.metric_series
    if view.metric in series:
        return view.metric
    return "loss" if "loss" in series else next(iter(series), None)


def following(view: View) -> str | None:
    """The metric after the one that is drawn."""
    names = list(view.state.metric_series)
    now = chosen(view)
    return names[(names.index(now) + 1) % len(names)] if now in names else None


def content(view: View, box: Box) -> Content:
    """The chosen metric as a line, and as many others below it as have room; the rest as last values."""
    name = chosen(view)
    if name is None:
        words = view.waiting_words()
        if view.state.train.steps:
            words = _not_a_number(view) or "no metrics yet: they come with the first log of the training"
        return note((("metric", ""),), words, box.width)
    names = [name, *(n for n in view.state.metric_series if n != name)]
    shown = names[: max(1, (box.height - 1) // SMALL_PLOT)]
    cells = max(1, box.width - plot.AXIS_WIDTH)
    rows = _others(view, shown, box.width)
    room = box.height - len(rows) - 1 - (len(shown) - 1)
    heights = [room // len(shown) + (i < room % len(shown)) for i in range(len(shown))]
    for i, (metric, height) in enumerate(zip(shown, heights, strict=True)):
        if i:
            rows.append(
                (
                    (" " * plot.AXIS_WIDTH, ""),
                    (f"{printable(metric)} ", "muted"),
                    (_text(view.state.metrics.get(metric)), "bold"),
                )
            )
        rows += _plot(view, metric, cells, max(1, height))
    time = view.time_row(cells)
    right: Row = (("made-up input: means nothing", "warning"),) if view.state.metrics_meaningless else ()
    return static(((f"{printable(name)} {_text(view.state.metrics.get(name))}", ""),), [*rows, time], right)


def _plot(view: View, name: str, cells: int, height: int) -> list[Row]:
    window = view.window
    count = cells * (2 if view.glyphs.braille else 1)
    values = _joined(view.state.metric_series[name].columns(window.begin, window.end, count))
    low, high = _scale([v for v in values if v is not None])
    drawn = plot.line(values, low, high, height, "metric", view.glyphs)
    labels = [units.number(v)[:5] for v in (high, low)]
    return plot.labelled(drawn, labels[0], labels[1], view.glyphs)


def _joined(values: list[float | None]) -> list[float | None]:
    """Metrics come once a second or less: a column without one holds the last value, up to the newest."""
    last_known = max((i for i, v in enumerate(values) if v is not None), default=-1)
    out: list[float | None] = []
    before: float | None = None
    for i, value in enumerate(values):
        before = value if value is not None else before
        out.append(before if i <= last_known else None)
    return out


def _scale(known: list[float]) -> tuple[float, float]:
    """From zero for what lies near it, else around the values."""
    if not known:
        return 0.0, 1.0
    low, high = min(known), max(known)
    if low >= 0 and low < 0.6 * high:
        return 0.0, plot.nice_ceiling(high)
    room = (high - low) * 0.1 or abs(high) * 0.05 or 1.0
    step = 10.0 ** math.floor(math.log10(room))
    return math.floor((low - room) / step) * step, math.ceil((high + room) / step) * step


def _others(view: View, shown: list[str], width: int) -> list[Row]:
    spans: list[Span] = []
    for other, value in view.state.metrics.items():
        if other in shown:
            continue
        role = "critical" if isinstance(value, str) else ""
        spans += [(f"{'  ' if spans else ' '}{clip(printable(other), 20)} ", "muted"), (_text(value), role)]
    return [tuple(spans)] if spans else []


def _not_a_number(view: View) -> str | None:
    bad = [f"{printable(k)} is {v}" for k, v in view.state.metrics.items() if isinstance(v, str)]
    return ", ".join(bad) or None


def _text(value: float | str | None) -> str:
    return printable(value) if isinstance(value, str) else units.number(value, 4)
