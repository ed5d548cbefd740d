"""A picture of a recorded run's screen: `tfgpu-tui replay RUN --svg FILE`, `tfgpu-tui compare RUN RUN --svg FILE`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from tfgpu_tui.runs.configuration import Settings
from tfgpu_tui.runs.rundir import RunDir
from tfgpu_tui.ui.app import choose_theme
from tfgpu_tui.ui.control import RealControl
from tfgpu_tui.ui.feed import ReplayClock
from tfgpu_tui.ui.monitor import MonitorApp
from tfgpu_tui.ui.snapshot import screen_svg
from tfgpu_tui.ui.view import Trials


class _AsItWas(RealControl):
    """At the moment of the picture the run went on."""

    def is_running(self, run: RunDir) -> bool:
        return True

    def resize(self, run: RunDir, columns: int, rows: int) -> None:
        """The script of a recording has no terminal."""


async def picture(
    run: RunDir,
    columns: int,
    rows: int,
    theme: str | None = None,
    keys: Sequence[str] = (),
    at_s: float | None = None,
    before: RunDir | None = None,
    settings: Settings | None = None,
    trials: Callable[[float], Trials] | None = None,
) -> str:
    """The screen as SVG text: at its end (of a running one, as it is now), or `at_s` seconds after the beginning.
    `keys` are pressed first; with `before` it is set against that run. `trials` makes it a trial of an experiment, as
    that is known at the time that is shown."""
    clock = None if at_s is None else ReplayClock()
    look = choose_theme(theme or "dark")
    app = MonitorApp(run, settings or Settings(), theme=look, replay=clock, control=_AsItWas())
    async with app.run_test(size=(columns, rows)) as pilot:
        while app.view.state.run is None or app.session.behind:
            await pilot.pause(0.05)
        if clock is not None and at_s is not None:
            clock.hold(True)
            app.session.go_to((app.view.state.started or 0.0) + at_s)
            while app.session.behind:
                await pilot.pause(0.05)
            app.view.replay = None  # as the screen was then
        if before is not None:
            app.session.compare_with(before)
            while app.session.behind:
                await pilot.pause(0.05)
        if trials is not None:
            app.view.trials = trials(app.view.now)
        app.look_again()
        for key in keys:
            await pilot.press(key)
        # Two refreshes: the first places what a key opened, the second draws it.
        await pilot.pause()
        await pilot.pause()
        return screen_svg(app)


def draw(run: RunDir, columns: int, rows: int, **more: object) -> str:
    """`picture` for callers without an event loop."""
    return asyncio.run(picture(run, columns, rows, **more))  # type: ignore[arg-type]
