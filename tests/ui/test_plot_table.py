"""Plots, tables and rows as a reader sees them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from rich.cells import cell_len
from rich.style import Style

from tests.journals import start, state_of, windows
from tfgpu_tui.core.events import Epoch, RunStarted
from tfgpu_tui.core.rows import OpsOffGpu
from tfgpu_tui.core.state import fold
from tfgpu_tui.core.totals import Mark
from tfgpu_tui.ui import plot, table
from tfgpu_tui.ui.draw import ASCII, UNICODE, Box, Content, Row, clip, fit, frame, spread, to_ascii, width_of, wrap
from tfgpu_tui.ui.pane import changed_cells, joined
from tfgpu_tui.ui.panes import epochs, placement
from tfgpu_tui.ui.table import Cell, Column
from tfgpu_tui.ui.view import View


def lines(rows: Sequence[Row]) -> list[str]:
    return ["".join(text for text, _ in row) for row in rows]


def test_an_area_fills_from_below_and_leaves_unknown_blank() -> None:
    drawn = plot.area([0.0, 100.0, None, None, 50.0, 50.0], 100.0, 2, "gpu", UNICODE)
    assert lines(drawn) == ["⢸  ", "⣸ ⣿"]
    assert lines(plot.area([0.0, 100.0, None, 50.0], 100.0, 2, "gpu", ASCII)) == [" #  ", "## #"]


def test_a_stack_shows_the_layer_that_fills_a_cell() -> None:
    drawn = plot.stack([[2.0, None], [1.0, None], [1.0, None]], 4.0, 4, ("input", "compute", "host"), UNICODE)
    assert lines(drawn) == ["░ ", "█ ", "▒ ", "▒ "]


def test_a_line_joins_steep_steps() -> None:
    drawn = lines(plot.line([0.0, 0.0, 8.0, 8.0], 0.0, 8.0, 2, "metric", UNICODE))
    assert all(any(c != " " for c in row) for row in drawn)
    assert "*" in "".join(lines(plot.line([0.0, 4.0], 0.0, 8.0, 4, "metric", ASCII)))


def test_the_limit_is_drawn_over_blanks_only() -> None:
    rows = plot.area([100.0, 100.0, None, None], 100.0, 2, "memory", UNICODE)
    assert lines(plot.with_limit(rows, 100.0, 100.0, "limit", UNICODE))[0] == "⣿╌"


def test_the_axis_grows_by_doubling_then_moves_in_jumps() -> None:
    assert plot.axis(0, 3, range_s=120).span_s == 15
    assert plot.axis(0, 16, range_s=120).span_s == 20
    assert plot.axis(0, 1000, range_s=None) == plot.Axis(0, 1200)
    windows = {plot.axis(0, 600 + i, range_s=120) for i in range(15)}
    assert len(windows) <= 2
    for now in range(1, 2000, 7):
        window = plot.axis(0, now, range_s=120)
        assert window.begin <= now <= window.end and window.span_s <= 120


def test_the_time_axis_marks_epochs() -> None:
    marks = [
        Mark(10.0, "epoch", "epoch 2"),
        Mark(30.0, "retrace", "retrace at step 3"),
        Mark(500.0, "epoch", "epoch 9"),
    ]
    row = "".join(t for t, _ in plot.time_row(plot.Axis(0, 60), 0.0, 30, marks, UNICODE))
    assert row.startswith("00:00└") and row.endswith("01:00") and "┴e2" in row and "┴r" in row and "e9" not in row


def test_scales() -> None:
    assert [plot.nice_ceiling(v) for v in (0.9, 31.8, 51, 100, None, 0)] == [1.0, 40.0, 60.0, 100.0, 1.0, 1.0]
    assert plot.nice_bytes(1.2 * 2**30) == 1.5 * 2**30


def test_a_tight_table_drops_what_matters_least_and_never_overflows() -> None:
    columns = [Column("name", least=6), Column("why", least=8, yields=1, grow=True), Column("extra", least=8, yields=2)]
    cells: list[list[Cell]] = [[("a long layer name", ""), ("no GPU kernel for string ops", ""), ("something", "")]]
    for width in range(10, 90):
        widths = table.layout(columns, cells, width)
        row = table.body(columns, cells[0], widths)
        assert 0 in widths
        if width >= 16:
            assert width_of(row) <= width
    assert 2 not in table.layout(columns, cells, 22) and 1 in table.layout(columns, cells, 22)


@pytest.mark.parametrize(
    ("width", "shown"),
    [(20, "src/vision/data.py:7"), (19, "vision/data.py:7"), (16, "vision/data.py:7"), (15, "data.py:7"), (5, "data…")],
)
def test_a_path_that_is_too_long_loses_folders_and_keeps_its_line(width: int, shown: str) -> None:
    row = table.body([Column("where", path=True)], [("src/vision/data.py:7", "")], {0: width})
    assert lines([row]) == [shown.ljust(width)]


def test_rows_fit_exactly_with_wide_characters() -> None:
    for width in range(1, 30):
        assert width_of(fit((("日本語 text", ""), (" more", "")), width)) == width
        assert cell_len(clip("日本語 text", width)) <= width
        assert width_of(spread((("日本", ""),), (("right", ""),), width)) == width
    assert wrap("aaaa bbbb cccc", 9) == ["aaaa bbbb", "cccc"]
    assert wrap("aaaaaaaaaaaa", 5) == ["aaaaa", "aaaaa", "aa"]


def test_frames_have_the_pane_s_size() -> None:
    content = Content(
        title=(("title", ""),), count=50, line=lambda i: ((f"row {i} 日本", ""),), right=(("12 of 50", ""),)
    )
    for box in (None, "critical"):
        for width in range(12, 80, 3):
            boxed = Content(title=content.title, count=50, line=content.line, right=content.right, box=box)
            for row in frame(boxed, Box(width, 8), UNICODE):
                assert width_of(row) == width


def test_a_severity_is_named_even_where_since_when_has_no_room() -> None:
    right = (("info", "info"), (", since 00:00", "muted"))
    for length in range(40, 66):
        content = Content(title=(("x" * length, "info"),), right=right, box="info")
        assert "info" in "".join(text for text, _ in frame(content, Box(80, 3), UNICODE)[0])


def test_ascii_rows_hold_only_ascii() -> None:
    row = to_ascii((("31 µs · 50 °C – ok 日", ""),))
    assert row[0][0].isascii() and width_of(row) == width_of((("31 µs · 50 °C – ok 日", ""),))


def test_only_the_changed_cells_are_repainted() -> None:
    assert changed_cells((("step 10", ""), (" x", "")), (("step 12", ""), (" x", ""))) == [(6, 7)]
    assert changed_cells((("ab", "good"),), (("ab", "warning"),)) == [(0, 2)]
    assert changed_cells((("ab", ""),), (("a", ""), ("b", ""))) == []
    far, near = " " * 40, " " * 4
    assert changed_cells(((f"1{far}2", ""),), ((f"3{far}4", ""),)) == [(0, 1), (41, 42)]
    assert changed_cells(((f"1{near}2", ""),), ((f"3{near}4", ""),)) == [(0, 6)]
    assert changed_cells((("ab", ""),), (("日", ""),)) == [(0, 2)]


def test_blanks_are_sent_in_the_style_beside_them_where_that_is_not_seen() -> None:
    red, bold, none = Style(color="red"), Style(bold=True), Style.null()
    assert joined([("  ", none), ("busy", red), (" ", none), ("on", red), ("  ", bold), ("x", bold)]) == [
        ("  busy on  ", red),
        ("x", bold),
    ]


def test_blanks_that_show_their_style_keep_it() -> None:
    red = Style(color="red")
    for seen in (Style(reverse=True), Style(bgcolor="blue"), Style(underline=True)):
        for spans in ([("a", red), (" ", seen)], [("a", seen), (" ", red)], [(" ", seen), ("a", red)]):
            assert joined(spans) == spans, seen


def test_what_tensorflow_keeps_in_the_host_s_memory_by_design_is_not_called_off_the_gpu() -> None:
    shapes: OpsOffGpu = {"op": "Pack", "ops": 1, "why": "host_memory"}
    text: OpsOffGpu = {"op": "LookupTableFindV2", "ops": 1, "why": "no_gpu_kernel"}
    assert not placement.without_kernel({"layer": "flatten", "not_on_gpu": [shapes]})
    assert placement.without_kernel({"layer": "lookup", "not_on_gpu": [shapes, text]})
    assert not placement.off_gpu({"layer": "(input)", "forward": {"CPU:0": 2}})
    assert placement.off_gpu({"layer": "lookup", "forward": {"CPU:0": 2}})


def test_a_metric_is_shown_whole_or_not_at_all() -> None:
    ended = [
        Epoch(t=9.0 + n, state="end", epoch=n, fit=1, wall_s=0.7, steps=29, metrics={"loss": 0.0002731 / n, "a": 0.5})
        for n in (1, 2)
    ]
    view = View(state=fold([RunStarted(t=1.0, id="r", argv=["t.py"], cwd="/", python="python"), *ended]))
    for width in range(20, 60):
        content = epochs.content(view, Box(width, 8))
        text = "\n".join("".join(t for t, _ in content.line(i)) for i in range(content.count))
        assert "…" not in text or width < 26, text


@pytest.mark.parametrize(("count", "words"), [(1, "after the first steps"), (12, "handed out no graph of a step")])
def test_a_placement_that_does_not_come_is_unknown_in_words(count: int, words: str) -> None:
    state = state_of(start(), windows(count))
    said = placement.content(View(state=state, now=state.now), Box(120, 10))
    assert words in " ".join(lines([said.line(i) for i in range(said.count)]))
