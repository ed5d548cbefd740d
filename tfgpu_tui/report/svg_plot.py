"""Series as inline SVG for the HTML report: lines and the stack of a step's three shares over time (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from tfgpu_tui.core import units
from tfgpu_tui.core.quick import dataclass
from tfgpu_tui.core.series import Series
from tfgpu_tui.core.totals import Mark

WIDTH, HEIGHT = 560, 150
LEFT, RIGHT, TOP, BOTTOM = 56, 8, 8, 22
FLOOR = HEIGHT - BOTTOM
COLUMNS = 240
"""Points of a plot at most: more would not be seen."""
HOLDS_S = 5.0
"""A value speaks for the time up to the next one, but never for longer: metrics come once a second or less."""
_MARKS = ("epoch", "validation", "checkpoint", "retrace", "knob")
_SPIKE = 3.0
"""A stack's scale ends at this many times the usual height: single spikes, such as the first step, are cut off."""


@dataclass(frozen=True)
class Layer:
    """One curve: its series, its name in the legend, its CSS class."""

    series: Series
    label: str
    css: str


@dataclass(frozen=True)
class Time:
    """The stretch of time of all plots, in unix seconds, with what happened in it."""

    begin: float
    end: float
    marks: Sequence[Mark] = ()

    def x(self, t: float) -> float:
        """Where a moment stands in a plot."""
        return LEFT + (t - self.begin) / (self.end - self.begin) * (WIDTH - LEFT - RIGHT)


def line(title: str, layer: Layer, time: Time, unit: str, top: float | None = None) -> str:
    """A curve over time; `top` fixes the scale."""
    column = _columns(layer.series, time)
    known = [v for v in column if v is not None]
    low = min(0.0, min(known, default=0.0))
    high = top or max(known, default=1.0) or 1.0
    high = high if high > low else low + 1.0
    gap = max(1, round(HOLDS_S / (time.end - time.begin) * len(column)))
    return _figure(title, [_curve(column, gap, low, high, layer.css)], (), time, low, high, unit)


def stacked(title: str, layers: Sequence[Layer], time: Time, unit: str) -> str:
    """Areas one upon the other, first at the bottom."""
    columns = [_columns(layer.series, time) for layer in layers]
    totals = [sum(v or 0.0 for v in values) for values in zip(*columns, strict=True)]
    usual = sorted(t for t in totals if t > 0)
    high = min(usual[-1], _SPIKE * usual[len(usual) // 2]) if usual else 1.0
    base = [0.0] * len(totals)
    body = []
    for column, layer in zip(columns, layers, strict=True):
        upper = [b + (v or 0.0) for b, v in zip(base, column, strict=True)]
        body.append(_band(base, upper, high, layer.css))
        base = upper
    return _figure(title, body, layers, time, 0.0, high, unit)


def _columns(series: Series, time: Time) -> list[float | None]:
    count = max(2, min(COLUMNS, int((time.end - time.begin) / series.bucket_s)))
    return series.columns(time.begin, time.end, count)


def _y(value: float, low: float, high: float) -> float:
    inside = min(max(value, low), high)
    return FLOOR - (inside - low) / (high - low) * (FLOOR - TOP)


def _curve(column: Sequence[float | None], gap: int, low: float, high: float, css: str) -> str:
    """A polyline for each stretch without a hole of more than `gap` columns: what is unknown is not joined over. A lone
    point is a dot."""
    width = (WIDTH - LEFT - RIGHT) / len(column)
    stretches: list[list[tuple[float, float]]] = [[]]
    last = 0
    for i, value in enumerate(column):
        if value is None:
            continue
        if i - last > gap:
            stretches.append([])
        last = i
        stretches[-1].append((LEFT + (i + 0.5) * width, _y(value, low, high)))
    out = []
    for points in stretches:
        if len(points) == 1:
            out.append(f'<circle class="{css}" cx="{points[0][0]:.1f}" cy="{points[0][1]:.1f}" r="1.5"/>')
        elif points:
            joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            out.append(f'<polyline class="{css}" points="{joined}"/>')
    return "".join(out)


def _band(lower: Sequence[float], upper: Sequence[float], high: float, css: str) -> str:
    """An area of upright bars, so that a stretch without steps stays empty."""
    width = (WIDTH - LEFT - RIGHT) / len(upper)
    bars = []
    for i, (a, b) in enumerate(zip(lower, upper, strict=True)):
        bottom, top = _y(a, 0.0, high), _y(b, 0.0, high)
        if bottom > top:
            bars.append(f"M{LEFT + i * width:.1f} {bottom:.1f}h{width + 0.2:.1f}V{top:.1f}h-{width + 0.2:.1f}z")
    return f'<path class="{css} area" d="{"".join(bars)}"/>'


def _figure(
    title: str, body: Sequence[str], legend: Sequence[Layer], time: Time, low: float, high: float, unit: str
) -> str:
    marks = "".join(
        f'<path class="mark" d="M{time.x(mark.t):.1f} {TOP}V{FLOOR}"><title>{escape(mark.label)}</title></path>'
        for mark in time.marks
        if mark.kind in _MARKS and time.begin <= mark.t <= time.end
    )
    keys = "".join(f'<span class="key {layer.css}"></span>{escape(layer.label)} ' for layer in legend)
    return (
        f"<figure><figcaption>{escape(title)} <small>{keys}</small></figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f'<path class="axis" d="M{LEFT} {TOP}V{FLOOR}H{WIDTH - RIGHT}"/>{marks}{"".join(body)}'
        f'<text x="{LEFT - 5}" y="{TOP + 8}" class="end">{_amount(high, unit)}</text>'
        f'<text x="{LEFT - 5}" y="{FLOOR}" class="end">{_amount(low, unit)}</text>'
        f'<text x="{LEFT}" y="{HEIGHT - 6}">00:00</text>'
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" class="end">{units.clock(time.end - time.begin)}</text>'
        "</svg></figure>"
    )


def _amount(value: float, unit: str) -> str:
    if unit == "bytes":
        return escape(units.size(value))
    return escape(units.number(value) + (f" {unit}" if unit else ""))
