"""What compute is made of, where a reader meets it: state, report.json, page, comparison, step pane, time axis."""

from __future__ import annotations

from typing import Any

import pytest

from tests.journals import T0, pipeline, start, state_of, steps, windows
from tfgpu_tui.core import events as ev
from tfgpu_tui.core.state import RunState
from tfgpu_tui.report import compare, report_json
from tfgpu_tui.report.html_page import html
from tfgpu_tui.ui.draw import Box, width_of
from tfgpu_tui.ui.panes import step
from tfgpu_tui.ui.view import View

PARTS = {"backward": 5.0, "forward": 2.5, "optimizer": 2.0, "runtime": 0.4, "unknown": 0.1}


def looked(parts: dict[str, float] = PARTS, **more: Any) -> list[ev.Event]:
    layers = {"wide": {"forward": 1.5, "backward": 4.0}, "thin": {"forward": 1.0, "backward": 1.0}}
    return [
        ev.LayerTimes(
            t=T0 + 9, asked="automatic", steps=3, whole_steps=3, step_ms=11.0, compute_ms=sum(parts.values()),
            parts=parts, by_layer=layers, cost_s=0.1, lost_steps=10.0, **more,
        )
    ]  # fmt: skip


def run(*more: list[ev.Event]) -> RunState:
    return state_of(start(), windows(40), pipeline(), *more)


def test_the_shares_sum_to_one_and_the_greatest_is_first() -> None:
    shares = run(looked()).compute_parts()
    assert list(shares) == ["backward", "forward", "optimizer", "runtime", "unknown"]
    assert sum(shares.values()) == pytest.approx(1)
    assert run().compute_parts() == {}


def test_report_json_and_the_page_say_it_or_why_they_cannot() -> None:
    state = run(looked())
    report = report_json.build(state)
    assert report["compute"]["parts"]["backward"] == {"share": 0.5, "ms": 5.0}
    assert report["compute"]["layers"][0] == {"layer": "wide", "share": 0.55, "forward": 0.15, "backward": 0.4}
    assert report["compute"]["asked"] == "automatic"
    assert "compute" not in report["unknown"]
    assert "What compute is made of" in html(state, report)
    plain = report_json.build(run())
    assert plain["compute"] is None
    assert "profile=5" in plain["unknown"]["compute"]
    off = report_json.build(state_of(start({"profile": "off"}), windows(40)))
    assert off["unknown"]["compute"] == "--set profile=off"
    refused = report_json.build(run([ev.LayerTimes(t=T0 + 9, refused="the script holds the profiler")]))
    assert refused["unknown"]["compute"] == "the script holds the profiler"


def test_the_comparison_has_a_row_for_each_part_that_matters() -> None:
    before, after = run(looked()), run(looked({**PARTS, "optimizer": 12.0}))
    rows = {row.label: row for row in compare.rows(before, after)}
    assert rows["compute: optimizer"].change == "+40.0 points"
    assert "compute: unknown" not in rows
    assert not any(row.label.startswith("compute: ") for row in compare.rows(before, run()))


@pytest.mark.parametrize(("width", "height"), [(40, 6), (59, 7), (120, 20)])
def test_the_step_pane_has_a_line_of_it_that_fits(width: int, height: int) -> None:
    box = Box(width, height)
    found = step.content(View(state=run(looked())), box)
    lines = [found.line(i) for i in range(found.count)]
    assert found.count <= height
    assert all(width_of(line) <= width for line in lines)
    text = ["".join(part for part, _ in line) for line in lines]
    assert any("backward 50 %" in line for line in text)
    assert any("wide 55 %" in line for line in text) == (height >= step.ROOMY_HEIGHT)
    without = step.content(View(state=run()), box)
    assert not any("of compute" in "".join(p for p, _ in without.line(i)) for i in range(without.count))


def test_the_look_stands_on_the_time_axis_and_its_slower_steps_are_not_judged() -> None:
    slow = steps(13, 3, 80.0, profiled=True)
    plain, with_look = run(), run([slow], looked())
    assert ("profile", "looked inside 3 steps") in [(mark.kind, mark.label) for mark in with_look.marks]
    assert with_look.judged == plain.judged
    assert with_look.train.steps == plain.train.steps + 3
