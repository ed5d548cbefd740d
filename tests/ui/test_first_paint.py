"""The first thing that goes to the terminal: all of the screen, and nothing loaded for it that it does not need."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import RenderableType
from textual._compositor import CompositorUpdate
from textual.screen import Screen

from tests.ui import recording
from tests.ui.conftest import FakeControl, now_script, screen, shows, until
from tests.ui.test_repaint import screen_of
from tests.ui.test_screen import append
from tfgpu_tui.core import events as ev
from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose import Finding
from tfgpu_tui.runs.configuration import Settings
from tfgpu_tui.runs.rundir import RunDir
from tfgpu_tui.ui import session
from tfgpu_tui.ui.monitor import MonitorApp

SIZE = (120, 40)
FIRST_PAINT = """
import asyncio, sys
from pathlib import Path
from tfgpu_tui.cli import command_line, opening, starting, watching
from tfgpu_tui.runs.configuration import Settings
from tfgpu_tui.runs.rundir import RunDir
from tfgpu_tui.ui.monitor import MonitorApp
from tfgpu_tui.ui.snapshot import screen_text

async def paint():
    app = MonitorApp(RunDir(Path(sys.argv[1])), Settings(), theme="textual-dark")
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        assert "train.py" in screen_text(app), screen_text(app)

asyncio.run(paint())
print("|", *sys.modules)
"""
LATE = {
    *("tfgpu_tui.diagnose.verdict", "tfgpu_tui.diagnose.register", "tfgpu_tui.diagnose.explain", "tfgpu_tui.doctor"),
    *("tfgpu_tui.report.compare", "tfgpu_tui.report.report_json", "tfgpu_tui.report.html_page", "tfgpu_tui.fleet"),
    *("tfgpu_tui.trials.conduct", "tfgpu_tui.supervisor.supervise", "tfgpu_tui.ui.experiment"),
    *("tfgpu_tui.ui.exporting", "tfgpu_tui.ui.explaining"),
    *("statistics", "psutil", "pynvml", "multiprocessing", "pygments", "markdown_it"),
}


def test_what_the_first_paint_does_not_need_is_not_loaded_for_it(tmp_path: Path) -> None:
    run = recording.write(tmp_path / "train-1", recording.opening(now_script(0)))
    command = [sys.executable, "-c", FIRST_PAINT, str(run.path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.rpartition("|")[2].split())
    assert "textual.app" in loaded and loaded & LATE == set()


async def test_a_run_is_judged_once_it_is_a_moment_old(
    tmp_path: Path, control: FakeControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[float | None] = []

    def note(state: RunState) -> list[Finding]:
        judged.append(state.wall_s)
        return []

    monkeypatch.setattr(session, "diagnose", note)
    script = now_script(0)
    run = recording.write(tmp_path / "train-1", recording.opening(script))
    async with (app := screen(run, control)).run_test(size=SIZE) as pilot:
        await shows(pilot, "train.py")
        assert judged == []
        append(run, ev.HostSample(t=script.start + 2, src="host"))
        await until(pilot, lambda: judged == [2.0])
        assert app.view.findings == []


async def test_the_first_paint_has_every_pane(
    training_run: Callable[..., RunDir], control: FakeControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    first: list[str] = []

    def display(app: MonitorApp, screen: Screen[object], renderable: RenderableType | None) -> None:
        if isinstance(renderable, CompositorUpdate) and not first:
            first.extend(screen_of(renderable.render_segments(app.console).encode(), *SIZE))

    monkeypatch.setattr(MonitorApp, "_display", display)
    app = screen(training_run(), control)
    async with app.run_test(size=SIZE) as pilot:
        await shows(pilot, "train.py")
        shown = [pane.region for pane in app.board.panes.values() if pane.display]
    assert len(shown) > 5
    for region in shown:
        rows = [first[y][region.x : region.right] for y in range(region.y, region.bottom)]
        assert rows[0].strip() and "".join(rows[1:]).strip(), "\n".join(first)


async def test_a_run_that_was_just_started_is_not_kept_waiting_for_a_tick(tmp_path: Path, control: FakeControl) -> None:
    run = RunDir(tmp_path / "train-1")
    app = MonitorApp(run, Settings(interval_s=3600.0), theme="textual-dark", control=control)
    async with app.run_test(size=SIZE) as pilot:
        await shows(pilot, "starting")
        recording.write(run.path, recording.opening(now_script(0)))
        await shows(pilot, "train.py", "importing TensorFlow")
