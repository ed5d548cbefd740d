"""The hints of a new user's first screen: one at a time, where they help, and never again after Esc."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ui.conftest import FakeControl, rows_of, screen, shows, text_of, until
from tfgpu_tui.runs.rundir import RunDir
from tfgpu_tui.ui import tour
from tfgpu_tui.ui.feed import ReplayClock

HINTS = ("Hint: what costs most stands here", "Hint: Enter tries it", "Hint: d leaves the training running")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TFGPU_TUI_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


def hints(text: str) -> list[str]:
    return re.findall(r"Hint: [^,;(]*", text)


async def test_three_hints_one_at_a_time(training_run: Callable[..., RunDir], control: FakeControl) -> None:
    app = screen(training_run(), control, tour=tour.of_new_user())
    async with app.run_test(size=(80, 24)) as pilot:
        text = await shows(pilot, HINTS[0], "Input-bound", "Tab next", "Esc no more")
        assert len(hints(text)) == 1
        focus = app.focused
        await pilot.press("tab")
        text = await shows(pilot, HINTS[1], "input=", "Esc no more")
        assert len(hints(text)) == 1 and app.focused is focus
        await pilot.press("tab")
        await shows(pilot, HINTS[2], "tfgpu-tui attach comes back")
        assert hints(rows_of(app)[-1]) and len(hints(text_of(app))) == 1
        assert tour.of_new_user() is not None, "not yet seen to the end"
        await pilot.press("tab")
        await until(pilot, lambda: not hints(text_of(app)))
        assert "q quit" in rows_of(app)[-1] and app.focused is focus
        await pilot.press("tab")
        assert app.focused is not focus, "Tab is the screen's again"
    assert tour.of_new_user() is None


async def test_esc_ends_them_for_good(training_run: Callable[..., RunDir], control: FakeControl, state: Path) -> None:
    app = screen(training_run(), control, tour=tour.of_new_user())
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, HINTS[0])
        await pilot.press("question_mark")
        await until(pilot, lambda: len(app.screen_stack) == 2)
        await pilot.press("escape")
        await until(pilot, lambda: len(app.screen_stack) == 1)
        await shows(pilot, HINTS[0])  # that Esc was the help's
        await pilot.press("escape")
        await until(pilot, lambda: not hints(text_of(app)))
    assert os.listdir(state) == ["tour-seen"] and tour.of_new_user() is None


async def test_what_can_not_be_done_is_not_hinted_at(
    training_run: Callable[..., RunDir], control: FakeControl, tmp_path: Path
) -> None:
    control.running = False
    app = screen(training_run(), control, tour=tour.Tour(tmp_path / "file" / "seen"))
    (tmp_path / "file").write_text("where a folder should be")
    async with app.run_test(size=(60, 15)) as pilot:
        await shows(pilot, "Hint: what costs most")
        await until(pilot, lambda: app.view.lost)
        await pilot.press("tab")
        await shows(pilot, "Hint: Enter")
        await pilot.press("tab")
        await until(pilot, lambda: not hints(text_of(app)))


@pytest.mark.parametrize("columns", [60, 80, 120])
async def test_the_tours_keys_stand_whole(
    training_run: Callable[..., RunDir], control: FakeControl, columns: int
) -> None:
    app = screen(training_run(), control, tour=tour.of_new_user())
    async with app.run_test(size=(columns, 24)) as pilot:
        for number in range(len(HINTS)):
            text = await shows(pilot, "Hint: ", "Esc no more")
            assert ("Tab next" in text) == (number < 2)
            await pilot.press("tab")
        await until(pilot, lambda: not hints(text_of(app)))


async def test_a_recording_says_what_the_keys_do_for_a_run_of_ones_own(
    training_run: Callable[..., RunDir], control: FakeControl
) -> None:
    app = screen(training_run(), control, replay=ReplayClock(1000.0), tour=tour.of_new_user())
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, HINTS[0], "Input-bound")
        await pilot.press("tab")
        await shows(pilot, "Hint: in your own run Enter tries input=")
        await pilot.press("tab")
        await shows(pilot, "Hint: d leaves your own run running; tfgpu-tui attach comes back   Esc no more")
        await pilot.press("tab")
        await until(pilot, lambda: not hints(text_of(app)))
    assert tour.of_new_user() is None


async def test_no_hint_without_a_tour(training_run: Callable[..., RunDir], control: FakeControl) -> None:
    app = screen(training_run(), control)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "Input-bound")
        assert not hints(text_of(app))
