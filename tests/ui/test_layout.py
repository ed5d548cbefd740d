"""Panes never overlap and always lie on the screen, at every size."""

from __future__ import annotations

import itertools

import pytest

from tfgpu_tui.ui.layout import MIN_COLUMNS, MIN_ROWS, Rect, arrange


def overlap(a: Rect, b: Rect) -> bool:
    return a.x < b.x + b.width and b.x < a.x + a.width and a.y < b.y + b.height and b.y < a.y + a.height


@pytest.mark.parametrize("gpus", [0, 1, 8])
@pytest.mark.parametrize("compare", [True, False])
def test_no_overlap_at_any_size(gpus: int, compare: bool) -> None:
    for columns, rows in itertools.product(range(40, 261, 7), range(5, 75)):
        places = arrange(columns, rows, gpus=gpus, compare=compare)
        for a, b in itertools.combinations(places.values(), 2):
            assert not overlap(a, b), (columns, rows, places)
        for name, rect in places.items():
            assert rect.x >= 0 and rect.y >= 0 and rect.width > 0 and rect.height > 0, (name, rect)
            assert rect.x + rect.width <= columns and rect.y + rect.height <= rows, (name, rect)


def test_findings_step_time_status_and_footer_are_always_there() -> None:
    for columns, rows in itertools.product(range(MIN_COLUMNS, 200, 11), range(MIN_ROWS, 60)):
        assert {"status", "findings", "footer"} <= arrange(columns, rows).keys()
    assert {"step", "gpu", "pipeline", "output"} <= arrange(80, 24).keys()
    assert {"step", "cpu", "pipeline", "output"} <= arrange(80, 24, gpus=0).keys()


def test_everything_is_shown_at_120x40() -> None:
    wanted = {"step", "gpu", "cpu", "memory", "metric", "pipeline", "placement", "output", "epochs", "findings"}
    assert wanted <= arrange(120, 40).keys()
    assert wanted - {"gpu"} <= arrange(120, 40, gpus=0).keys()


def test_the_rows_are_all_used() -> None:
    for columns, rows in ((80, 24), (100, 30), (120, 40), (160, 45), (200, 50)):
        covered = {y for r in arrange(columns, rows).values() for y in range(r.y, r.y + r.height)}
        assert covered == set(range(rows))


def test_a_zoomed_pane_has_all_but_status_and_footer() -> None:
    places = arrange(80, 24, zoom="placement")
    assert places["placement"] == Rect(0, 1, 80, 22)
    assert places.keys() == {"status", "footer", "placement"}
