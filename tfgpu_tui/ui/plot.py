"""Plots over time as rows of text: a braille area, a stack of three shares, and the time axis that all plots share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby

from tfgpu_tui.core import units
from tfgpu_tui.core.quick import dataclass
from tfgpu_tui.core.totals import Mark
from tfgpu_tui.ui.draw import Glyphs, Role, Row, Span

AXIS_WIDTH = 7
"""Cells left of a plot: five for the label, one for the axis, one blank."""
_JUMP = 8
"""A full window moves by an eighth of itself at once: a plot is rewritten now and then, not at every sample."""

# Dots of a braille cell filled from below, by height 0..4 (Unicode block 2800, dots 7 3 2 1 and 8 6 5 4).
_LEFT = (0x00, 0x40, 0x44, 0x46, 0x47)
_RIGHT = (0x00, 0x80, 0xA0, 0xB0, 0xB8)
_LEFT_DOT = (0x40, 0x04, 0x02, 0x01)
_RIGHT_DOT = (0x80, 0x20, 0x10, 0x08)

Values = Sequence[float | None]


@dataclass(frozen=True)
class Axis:
    """The stretch of time that every plot shows, so that a stall lines up with the drop in load."""

    begin: float
    end: float

    @property
    def span_s(self) -> float:
        return self.end - self.begin


_SPANS_S = (15, 20, 30, 45, 60, 90, 120, 180, 240, 360, 480, 600, 900, 1200, 1800, 2700, 3600)


def axis(started: float, now: float, range_s: float | None, exact: bool = False) -> Axis:
    """The window to show at `now`: the run so far in round lengths that grow by about half, up to `range_s` (None: all
    of it); then the last `range_s` seconds, which move in jumps, so that columns already drawn stay where they are.
    `exact` ends at `now`: nothing more comes."""
    length = max(0.0, now - started)
    if exact:
        span = max(1.0, length if range_s is None else min(range_s, length))
        return Axis(now - span if length > span else started, max(now, started + span))
    span = next((float(s) for s in _SPANS_S if s >= length), float(_SPANS_S[-1]))
    while span < length:
        span *= 1.5
    if range_s is None or span <= range_s:
        return Axis(started, started + span)
    jump = range_s / _JUMP
    begin = started + max(0, math.ceil((length - range_s) / jump)) * jump
    return Axis(begin, begin + range_s)


def nice_ceiling(value: float | None) -> float:
    """The next round number (1, 1.5, 2, 3, 4, 5, 6, 8 times a power of ten): a scale that rarely jumps."""
    if value is None or value <= 0 or not math.isfinite(value):
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    for factor in (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0):
        if value <= factor * power * (1 + 1e-9):
            return factor * power
    return 10.0 * power


def nice_bytes(value: float | None) -> float:
    """The next power of two, or three quarters of it: a scale in binary units."""
    if value is None or value <= 0:
        return 1024.0
    top = 2.0 ** math.ceil(math.log2(value))
    return 0.75 * top if value <= 0.75 * top else top


def labelled(rows: Sequence[Row], top: str, bottom: str, glyphs: Glyphs, middle: str = "") -> list[Row]:
    """The plot's rows with their scale on the left."""
    out: list[Row] = []
    for i, row in enumerate(rows):
        label = top if i == 0 else bottom if i == len(rows) - 1 else middle if i == len(rows) // 2 else ""
        sign = glyphs.axis if label else glyphs.side
        out.append(((f"{label:>5}", "muted"), (sign, "rule"), (" ", ""), *row))
    return out


def area(values: Values, top: float, height: int, role: Role, glyphs: Glyphs, bottom: float = 0.0) -> list[Row]:
    """A filled plot; `values` holds two columns a cell with braille, one without. Unknown columns stay blank."""
    scale = 4 * height if glyphs.braille else height
    dots = [_dots(v, bottom, top, scale) for v in values]
    if not glyphs.braille:
        return [(("".join("#" if d > height - 1 - y else " " for d in dots), role),) for y in range(height)]
    if len(dots) % 2:
        dots.append(0)
    columns = [_filled(left, right, height) for left, right in zip(dots[::2], dots[1::2], strict=True)]
    return [(("".join(row), role),) for row in zip(*columns, strict=True)] if columns else [(("", role),)] * height


@lru_cache(maxsize=1024)  # a plot is the same as half a second before, but for its last columns
def _filled(left: int, right: int, height: int) -> str:
    """The cells of a column from the top row down: filled up to `left` and `right` dots."""
    cells = []
    for base in range(4 * (height - 1), -1, -4):
        bits = _LEFT[max(0, min(4, left - base))] | _RIGHT[max(0, min(4, right - base))]
        cells.append(chr(0x2800 + bits) if bits else " ")
    return "".join(cells)


def line(values: Values, bottom: float, top: float, height: int, role: Role, glyphs: Glyphs) -> list[Row]:
    """A line plot; steep parts are joined by the dots between two columns."""
    if not glyphs.braille:
        dots = [_dots(v, bottom, top, height) for v in values]
        return [(("".join("*" if d == height - y else " " for d in dots), role),) for y in range(height)]
    dots = [_dots(v, bottom, top, 4 * height) for v in values]
    if len(dots) % 2:
        dots.append(0)
    before = [0, *dots[1::2]]
    columns = [_joined(*three, height) for three in zip(before, dots[::2], dots[1::2], strict=False)]
    return [(("".join(row), role),) for row in zip(*columns, strict=True)] if columns else [(("", role),)] * height


@lru_cache(maxsize=1024)
def _joined(before: int, left: int, right: int, height: int) -> str:
    """The cells of a column of a line from the top row down: its two heights in dots, each joined to the one before."""
    cells = [0] * height
    for last, dot, bits in ((before, left, _LEFT_DOT), (left, right, _RIGHT_DOT)):
        if dot:
            low, high = (min(last + 1, dot), dot) if last else (dot, dot)
            if last > dot:
                high = last - 1
            for d in range(low, high + 1):
                cells[height - 1 - (d - 1) // 4] |= bits[(d - 1) % 4]
    return "".join(chr(0x2800 + b) if b else " " for b in cells)


def _dots(value: float | None, bottom: float, top: float, scale: int) -> int:
    """Height in dots: 0 for unknown; what is known is at least one dot."""
    if value is None or top <= bottom:
        return 0
    return max(1, min(scale, round((value - bottom) / (top - bottom) * scale)))


def stack(layers: Sequence[Values], top: float, height: int, roles: Sequence[Role], glyphs: Glyphs) -> list[Row]:
    """Layers one upon the other, first at the bottom, one column a cell; each cell shows the layer that fills most of
    it, in its own glyph (`glyphs.layers`), so that it reads without colours."""
    columns = [_stacked(parts, top, height) for parts in zip(*layers, strict=True)]
    signs, looks = (*glyphs.layers[: len(layers)], " "), (*roles, "")
    return [
        tuple((signs[layer] * len(list(run)), looks[layer]) for layer, run in groupby(row))
        for row in zip(*columns, strict=True)
    ]


@lru_cache(maxsize=1024)
def _stacked(parts: tuple[float | None, ...], top: float, height: int) -> tuple[int, ...]:
    """Layer of each cell of a column from the top row down; one more than there are for none."""
    edges = [0.0]
    for part in parts:
        edges.append(edges[-1] + (part or 0.0) / top * height)
    empty = height - math.ceil(max(0.0, min(float(height), edges[-1])))
    cells = [len(parts)] * empty
    for y in range(empty, height):
        low, high = float(height - 1 - y), float(height - y)
        covers = [max(0.0, min(high, edges[i + 1]) - max(low, edges[i])) for i in range(len(parts))]
        best = max(range(len(parts)), key=covers.__getitem__)
        filled = sum(covers) >= 0.5 or (y == height - 1 and sum(covers) > 0)
        cells.append(best if filled else len(parts))
    return tuple(cells)


def with_limit(rows: list[Row], value: float, top: float, role: Role, glyphs: Glyphs) -> list[Row]:
    """A dashed rule at `value`, drawn over blank cells only."""
    if not rows or not 0 < value <= top:
        return rows
    y = min(len(rows) - 1, len(rows) - max(1, round(value / top * len(rows))))
    spans: list[Span] = []
    for text, old in rows[y]:
        for char in text:
            new: Span = (glyphs.limit, role) if char == " " else (char, old)
            if spans and spans[-1][1] == new[1]:
                spans[-1] = (spans[-1][0] + new[0], new[1])
            else:
                spans.append(new)
    return [*rows[:y], tuple(spans), *rows[y + 1 :]]


_SIGNS = {
    "epoch": "",
    "retrace": "r",
    "validation": "v",
    "checkpoint": "c",
    "stall": "s",
    "knob": "k",
    "profile": "p",
    "end": "end",
}
"""What stands beside a mark on the axis; an epoch has its number."""


def time_row(window: Axis, started: float, width: int, marks: Sequence[Mark], glyphs: Glyphs) -> Row:
    """The time axis below a plot of `width` cells: marks with a letter or an epoch's number, and the times at both
    ends. Where marks stand too close, epochs give way first: there are many of them."""
    cells = [glyphs.rule] * width
    right = units.clock(window.end - started)
    if width > len(right) + 2:
        cells[-len(right) :] = right
    room = width - len(right) - 1
    shown = [m for m in marks if m.kind in _SIGNS and window.begin <= m.t <= window.end]
    for mark in sorted(shown, key=lambda m: m.kind == "epoch"):
        label = mark.label.replace("epoch ", "e") if mark.kind == "epoch" else _SIGNS[mark.kind]
        at = int((mark.t - window.begin) / window.span_s * width)
        if at >= room or cells[at] != glyphs.rule:
            continue
        cells[at] = glyphs.mark
        if at + 1 + len(label) <= room and all(c == glyphs.rule for c in cells[at + 1 : at + 2 + len(label)]):
            cells[at + 1 : at + 1 + len(label)] = label
    left = units.clock(window.begin - started)
    return ((f"{left:>5}", "muted"), (glyphs.origin, "rule"), (glyphs.rule, "rule"), ("".join(cells), "rule"))
