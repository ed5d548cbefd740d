"""The key that explains the chosen finding: a page to scroll, at any size, that Esc or the same key closes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ui import recording
from tests.ui.conftest import FakeControl, rows_of, screen, shows, text_of, until
from tfgpu_tui.diagnose import Finding
from tfgpu_tui.diagnose.register import REGISTER
from tfgpu_tui.runs.configuration import Settings
from tfgpu_tui.runs.rundir import RunDir
from tfgpu_tui.ui import explaining
from tfgpu_tui.ui.dialogs import Page
from tfgpu_tui.ui.draw import ASCII, Box, to_ascii, width_of
from tfgpu_tui.ui.monitor import MonitorApp
from tfgpu_tui.ui.view import View

Make = Callable[..., RunDir]


async def test_the_first_finding_is_explained_at_80x24(training_run: Make, control: FakeControl) -> None:
    app = screen(training_run(), control)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "Input-bound")
        await pilot.press("w")
        await shows(pilot, "input.bound", "What you see", "Esc closes", "Input-bound: ")
        assert all(len(row) <= 80 for row in rows_of(app))
        await pilot.press("pagedown")
        await shows(pilot, "How it is measured")
        await pilot.press("end")
        await shows(pilot, "tfgpu-tui demo/slow_map.py")
        await pilot.press("escape")
        await shows(pilot, "input pipeline")
        assert not isinstance(app.screen, Page)


async def test_the_chosen_finding_of_the_list_is_explained(training_run: Make, control: FakeControl) -> None:
    app = screen(training_run(), control)
    async with app.run_test(size=(120, 40)) as pilot:
        await shows(pilot, "Input-bound")
        await pilot.press("f")
        await shows(pilot, "w says why")
        await pilot.press("down", "w")
        second = app.view.findings[1][0]
        await shows(pilot, second.id, REGISTER[second.id].means)
        await pilot.press("w")
        await until(pilot, lambda: not isinstance(app.screen, Page))
        assert app.board.zoomed == "findings"


async def test_the_key_may_be_another_one(training_run: Make, control: FakeControl) -> None:
    settings = Settings(interval_s=0.1, keys={"explain": "f2"})
    app = MonitorApp(training_run(), settings, control=control, theme="textual-dark")
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "Input-bound")
        await pilot.press("f2")
        await shows(pilot, "What you see")
        await pilot.press("f2")
        await until(pilot, lambda: not isinstance(app.screen, Page))


async def test_without_a_finding_there_is_nothing_to_explain(tmp_path: Path, control: FakeControl) -> None:
    events = recording.opening(recording.Script(run_id="train-1", start=time.time() - 5))
    app = screen(recording.write(tmp_path / "train-1", events), control)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.view.behind is None and app.view.state.run is not None)
        assert app.view.findings == []
        await pilot.press("w")
        assert not isinstance(app.screen, Page)
        await shows(pilot, "no finding to explain")
        assert "What you see" not in text_of(app)


@pytest.mark.parametrize("columns", [40, 80, 120])
@pytest.mark.parametrize("name", REGISTER)
def test_every_explanation_fits(name: str, columns: int) -> None:
    finding = Finding(name, "warning", "what this run says of it", "what to do")
    content = explaining.of(finding)(View(), Box(columns, 23))
    rows = [content.line(i) for i in range(content.count)]
    code = [row for row in rows if len(row) == 2 and row[1][1] == "info"]
    words = [row for row in rows if row not in code]
    assert all(width_of(row) <= columns - 4 for row in words)
    if columns >= 80:
        assert all(width_of(row) <= columns - 4 for row in code)
    assert rows[0] == (("what this run says of it", "bold"),)
    assert "?" not in "".join(text for text, _ in to_ascii(rows[1]))


def test_a_finding_that_is_not_in_the_register_says_so() -> None:
    content = explaining.of(Finding("of.tomorrow", "info", "new", ""))(View(glyphs=ASCII), Box(80, 23))
    assert "there is no finding 'of.tomorrow'" in "".join(text for text, _ in content.line(1))
