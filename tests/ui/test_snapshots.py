"""What the screen shows, row by row, in every state and at every size, drawn from recorded journals of real runs.

`TFGPU_TUI_UPDATE=1 python -m pytest tests/ui/test_snapshots.py` writes tests/ui/snapshots anew; read the difference.
"""

from __future__ import annotations

import difflib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from textual.pilot import Pilot

from tests.ui.conftest import FakeControl, until
from tfgpu_tui.core.events import decode
from tfgpu_tui.runs import rundir
from tfgpu_tui.runs.configuration import Settings
from tfgpu_tui.runs.rundir import RunDir
from tfgpu_tui.ui.draw import width_of
from tfgpu_tui.ui.feed import ReplayClock
from tfgpu_tui.ui.monitor import MonitorApp
from tfgpu_tui.ui.pane import RowsWidget
from tfgpu_tui.ui.snapshot import screen_rows

RECORDINGS = Path(__file__).parents[2] / "demo" / "recordings"
SNAPSHOTS = Path(__file__).parent / "snapshots"
SIZES = ((80, 24), (100, 30), (120, 40), (160, 45), (200, 50), (250, 60))


@dataclass(frozen=True)
class Shot:
    """One state of the screen: a recording, live up to `at_s` seconds (None: its end), and the keys pressed first."""

    recording: str
    at_s: float | None = None
    keys: tuple[str, ...] = ()
    before: str | None = None
    replay: bool = False
    ascii: bool = False
    theme: str = "textual-dark"


STATES = {
    "starting": Shot("cpu-input-bound", 1.5),
    "warming-up": Shot("cpu-healthy", 5.0),
    "healthy-without-gpu": Shot("cpu-healthy", 12.0),
    "input-bound": Shot("one-gpu-input-bound", 15.0),
    "eight-gpus": Shot("eight-gpus-one-used", 25.0),
    "lost-gpu": Shot("gpu-lost-in-mid-run", 25.0),
    "out-of-memory": Shot("out-of-memory"),
    "script-failed": Shot("script-failed"),
    "validation-finished": Shot("cpu-validation"),
    "whole-run": Shot("cpu-validation", keys=("0",)),
    "comparison": Shot("cpu-input-parallel", before="cpu-input-bound"),
    "help": Shot("one-gpu-input-bound", 15.0, keys=("question_mark",)),
    "settings": Shot("one-gpu-input-bound", 15.0, keys=("s",)),
    "replay": Shot("one-gpu-input-bound", 10.0, replay=True),
    "ascii": Shot("one-gpu-input-bound", 15.0, ascii=True, theme="ansi-dark"),
}


def cut(shot: Shot, folder: Path) -> tuple[RunDir, float]:
    """The recording as it was at that time, and that time."""
    run = rundir.find(str(RECORDINGS / f"{shot.recording}.jsonl"))
    lines = run.journal.read_bytes().splitlines(keepends=True)
    events = [decode(line) for line in lines]
    times = [event.t for event in events if event is not None]
    at = times[-1] if shot.at_s is None else times[0] + shot.at_s
    if shot.replay or shot.at_s is None:
        return run, at
    target = RunDir(folder)
    target.journal.write_bytes(
        b"".join(line for line, event in zip(lines, events, strict=True) if event and event.t <= at)
    )
    return target, at


def shown(app: MonitorApp) -> list[RowsWidget]:
    """The widgets on the screen, of a dialog over it as well."""
    below = [widget for widget in app.board.widgets if widget.display]
    return [*below, *(widget for widget in app.screen.query(RowsWidget) if widget.display)]


def drawn(widget: RowsWidget) -> bool:
    """Whether its rows were made for the size that it has, and that is the one that it was given."""
    rows = widget.shown_rows
    width, height = widget.styles.width, widget.styles.height
    placed = width is not None and height is not None and widget.size == (width.value, height.value)
    return placed and len(rows) == widget.size.height and width_of(rows[0]) == widget.size.width


def filled(app: MonitorApp, size: tuple[int, int]) -> bool:
    """Whether every screen, also one below a dialog, has this size, and its panes are placed for it and drawn."""
    whole = app.board.status.size.width == size[0] and app.board.footer.region.bottom == size[1]
    return whole and all(screen.size == size for screen in app.screen_stack) and all(map(drawn, shown(app)))


async def settled(pilot: Pilot[int], app: MonitorApp, size: tuple[int, int]) -> list[str]:
    """The rows once the screen has this size and nothing moves any more."""
    await until(pilot, lambda: app.size == size and app.screen.size == size and filled(app, size))
    before: list[str] = []
    deadline = time.monotonic() + 60
    while (rows := screen_rows(app)) != before or not rows or not filled(app, size):
        assert time.monotonic() < deadline
        before = rows
        await pilot.pause(0.05)
    return [row.rstrip() for row in rows]


async def has_read(pilot: Pilot[int], app: MonitorApp) -> None:
    """Waits until the whole recording is read."""
    await until(pilot, lambda: app.session.feed.events > 0 and not app.session.behind)


async def shoot(shot: Shot, folder: Path, control: FakeControl) -> str:
    """The state at all sizes, one below the other; the app is started once and resized."""
    run, at = cut(shot, folder)
    clock = ReplayClock() if shot.replay else None
    settings = Settings(interval_s=0.1, ascii=shot.ascii)
    app = MonitorApp(run, settings, theme=shot.theme, control=control, replay=clock, clock=_always(at))
    shots = []
    async with app.run_test(size=SIZES[0]) as pilot:
        await until(pilot, lambda: app.session.feed.events > 0)
        if clock is not None:
            clock.hold(True)
            app.session.go_to(at)
            app.session.toggle_freeze()
            app.session.toggle_freeze()
        await until(pilot, lambda: not app.session.behind)
        if shot.before is not None:
            app.session.compare_with(rundir.find(str(RECORDINGS / f"{shot.before}.jsonl")))
            await until(pilot, lambda: not app.session.behind)
        for key in shot.keys:
            await pilot.press(key)
        for size in SIZES:
            await pilot.resize_terminal(*size)
            app.view.notice = None
            rows = await settled(pilot, app, size)
            assert len(rows) == size[1]
            shots.append("\n".join([f"==== {size[0]}x{size[1]}", *rows]))
    return "\n".join(shots) + "\n"


def _always(t: float) -> Callable[[], float]:
    return lambda: t


@pytest.mark.parametrize("name", STATES)
async def test_snapshot(name: str, tmp_path: Path, control: FakeControl) -> None:
    seen = await shoot(STATES[name], tmp_path, control)
    kept = SNAPSHOTS / f"{name}.txt"
    if os.environ.get("TFGPU_TUI_UPDATE"):
        SNAPSHOTS.mkdir(exist_ok=True)
        kept.write_text(seen, encoding="utf-8")
        return
    wanted = kept.read_text(encoding="utf-8")
    difference = difflib.unified_diff(wanted.splitlines(), seen.splitlines(), "kept", "seen", lineterm="", n=1)
    assert seen == wanted, "\n".join(difference) + "\nTFGPU_TUI_UPDATE=1 writes the snapshots anew, if this is right"


async def test_a_resize_storm_leaves_no_debris(tmp_path: Path, control: FakeControl) -> None:
    """After many sizes the screen is what it would have been at once."""
    shot = STATES["input-bound"]
    run, at = cut(shot, tmp_path)
    pictures = []
    for storm in (False, True):
        app = MonitorApp(run, Settings(interval_s=0.1), theme=shot.theme, control=control, clock=_always(at))
        async with app.run_test(size=(120, 40)) as pilot:
            await has_read(pilot, app)
            for width in range(1, 250, 9) if storm else ():
                await pilot.resize_terminal(width, max(1, width // 4))
            await pilot.resize_terminal(120, 40)
            pictures.append(await settled(pilot, app, (120, 40)))
    assert pictures[0] == pictures[1]
