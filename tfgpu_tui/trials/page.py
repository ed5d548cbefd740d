"""`report GROUP --html`: one page with a bar chart of the step times, the table, and what to keep (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from tfgpu_tui.core import units
from tfgpu_tui.report.html_page import document, text
from tfgpu_tui.trials import table
from tfgpu_tui.trials.records import Group
from tfgpu_tui.trials.table import Row

WIDTH, LEFT, RIGHT, BAR, GAP = 760, 210, 130, 18, 10
_CSS = {"faster": "compute", "baseline": "load", "bound": "host"}


def html(group: Group) -> str:
    """The page; it opens without a network."""
    found = table.rows(group)
    what = f"{group.id}: {len(group.records)} trials in {units.duration(group.spent_s)}"
    parts = [
        f"<h1>{text(' '.join(group.argv))}</h1>",
        f'<p><span class="muted">{text(what)}</span></p>',
        *(f"<p><b>{text(line)}</b></p>" for line in table.keep(group)),
        *(f"<p>{text(line)}</p>" for line in table.circumstances(group)),
        "<h2>Step time</h2>",
        chart(found),
        "<h2>All settings</h2>",
        _table(found),
        _left_out(group),
    ]
    return document(" ".join(group.argv), parts)


def chart(found: Sequence[Row]) -> str:
    """A bar for each setting that was measured, with its noise."""
    shown = [row for row in found if row.step_ms is not None]
    if not shown:
        return '<p class="muted">Nothing was measured.</p>'
    high = max((row.step_ms or 0.0) + (row.noise_ms or 0.0) for row in shown)
    height = len(shown) * (BAR + GAP) + GAP
    bars = "".join(_bar(row, GAP + i * (BAR + GAP), high) for i, row in enumerate(shown))
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="step time of each setting">{bars}</svg>'


def _bar(row: Row, y: float, high: float) -> str:
    def x(ms: float) -> float:
        return LEFT + max(0.0, ms) / high * (WIDTH - LEFT - RIGHT)

    ms, noise = row.step_ms or 0.0, row.noise_ms or 0.0
    middle = y + BAR / 2
    times = "" if row.times is None else f", {table.times_words(row.times)}"
    return (
        f'<text x="{LEFT - 6}" y="{middle + 4:.1f}" class="end">{text(row.name)}</text>'
        f'<path class="{_CSS.get(row.verdict, "wait")} area" d="M{LEFT} {y:.1f}H{x(ms):.1f}v{BAR}H{LEFT}z"/>'
        f'<path class="axis" style="stroke:var(--ink)" d="M{x(ms - noise):.1f} {middle:.1f}H{x(ms + noise):.1f}"/>'
        f'<text x="{x(ms + noise) + 6:.1f}" y="{middle + 4:.1f}">{escape(units.duration(ms / 1e3) + times)}</text>'
    )


def _table(found: Sequence[Row]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in (*table.HEAD, "trials", "remark"))
    body = "".join(
        "<tr>"
        + "".join(f"<td>{text(cell)}</td>" for cell in (*table.cells(row), row.trials))
        + f"<td>{'<br>'.join(map(text, row.remarks))}</td></tr>"
        for row in found
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _left_out(group: Group) -> str:
    if group.plan is None or not group.plan.left_out:
        return ""
    body = "".join(f"<tr><td>{text(e.name)}</td><td>{text(e.reason)}</td></tr>" for e in group.plan.left_out)
    return f"<h2>Not tried</h2><table><tbody>{body}</tbody></table>"
