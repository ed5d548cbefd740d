"""This run against the one before it, row by row, with what changed in words first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfgpu_tui.core import units
from tfgpu_tui.terminal.lines import printable
from tfgpu_tui.ui import table
from tfgpu_tui.ui.draw import Box, Content, Role, Row, note, wrap
from tfgpu_tui.ui.table import Cell, Column
from tfgpu_tui.ui.view import View

if TYPE_CHECKING:
    from tfgpu_tui.report.compare import Speed

WORDS: dict[bool | None, tuple[str, Role]] = {True: ("better", "good"), False: ("worse", "warning"), None: ("", "")}


def content(view: View, box: Box) -> Content:
    """The sentence, then a table with one row a measure."""
    if view.before is None:
        return note(
            (("compare", ""),),
            f"nothing to compare yet: {view.key('rerun')} reruns this script ({view.key('settings')} changes settings "
            f"first), and the new run is set against this one; {view.key('browse')} chooses another run",
            box.width,
        )
    from tfgpu_tui.report import compare as core  # late: few runs have one before them

    old, new = view.before, view.state
    columns = (
        Column("", least=10, most=28),
        Column("before", right=True, least=12),
        Column("now", right=True, least=12),
        Column("change", right=True, least=12),
    )
    rows: list[list[Cell]] = []
    for row in core.rows(old, new):
        word, role = WORDS[row.better]
        rows.append([(printable(row.label), "muted"), (printable(row.before), ""), (printable(row.after), "bold"),
                     (f"{row.change} {word}".rstrip(), role)])  # fmt: skip
    widths = table.layout(columns, rows, box.width - 1)
    words: list[Row] = [((f" {line}", "bold"),) for line in wrap(core.sentence(old, new), box.width - 1)]
    bars = _bars(view, core.speed(old), core.speed(new), box.width) if box.height >= len(words) + 8 else []
    head: Row = ((" ", ""), *table.head(columns, widths))
    return Content(
        title=(("compare with the run before", ""),),
        right=((printable(old.run.id) if old.run else "", "muted"),),
        pinned=[*words, *bars, head],
        count=len(rows),
        line=lambda i: ((" ", ""), *table.body(columns, rows[i], widths)),
    )


def _bars(view: View, before: Speed | None, now: Speed | None, width: int) -> list[Row]:
    """Both step times as bars on one scale, with twice their error on both sides as noise."""
    speeds = [("before", before), ("now", now)]
    top = max((s.median_ms + 2 * s.error_ms for _, s in speeds if s is not None), default=0.0)
    if top <= 0:
        return []
    texts = [
        "–" if s is None else f"{units.duration(s.median_ms / 1e3)} ± {units.duration(s.error_ms / 1e3)}"
        for _, s in speeds
    ]
    room = max(8, width - 9 - max(map(len, texts)) - 2)
    sure, noise = view.glyphs.layers[1], view.glyphs.layers[0]
    rows: list[Row] = []
    for (name, speed), text in zip(speeds, texts, strict=True):
        low = high = 0
        if speed is not None:
            low = round(max(0.0, speed.median_ms - 2 * speed.error_ms) / top * room)
            high = max(low + 1, round((speed.median_ms + 2 * speed.error_ms) / top * room))
        rows.append(
            ((f" {name:<7} ", "muted"), (sure * low, "info"), (noise * (high - low), "muted"), (f" {text}", "bold"))
        )
    rows.append(((f" {'':<7} step time; {noise} is its noise (twice the error of the median)", "muted"),))
    return rows
