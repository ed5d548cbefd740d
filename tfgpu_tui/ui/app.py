"""Starts the screen: `run_screen` is all that the command line needs of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from textual.theme import BUILTIN_THEMES

from tfgpu_tui.runs.configuration import Settings
from tfgpu_tui.runs.rundir import RunDir
from tfgpu_tui.ui.feed import ReplayClock
from tfgpu_tui.ui.monitor import MonitorApp
from tfgpu_tui.ui.tour import of_new_user

if TYPE_CHECKING:
    from tfgpu_tui.ui.experiment import Experiment

_SHORT = {"ansi": "ansi-dark", "dark": "textual-dark", "light": "textual-light"}


def run_screen(
    run: RunDir,
    settings: Settings,
    mode: str = "live",
    speed: float = 1.0,
    early: Sequence[int] = (),
    say: str = "",
    tour: bool = False,
    nested: bool = False,
    experiment: Experiment | None = None,
    left: Callable[[str], None] = lambda group_id: None,
) -> int:
    """Shows a run until its reader leaves. `mode` is `live` or `replay` (at `speed` times the recorded pace). `early`
    holds the signals that come before the screen can take them (see `opening`): with one, it leaves at once. `say` are
    its first words; `tour` gives a new user three hints; `nested`: Esc leaves it. The trials of an
    `experiment` are shown one after the other; `left` is called with its id, or with that of one begun in the screen.

    Returns the script's exit status when it has ended, else 0 (detached: the training goes on). What went wrong in the
    screen is raised when the terminal is a terminal again.
    """
    theme = choose_theme(settings.theme)
    hints = of_new_user() if tour else None
    replay = ReplayClock(speed) if mode == "replay" else None
    app = MonitorApp(run, settings, theme=theme, replay=replay, early=early, tour=hints, nested=nested,
                     experiment=experiment)  # fmt: skip
    if settings.theme and theme != _SHORT.get(settings.theme, settings.theme):
        app.session.say(f"there is no theme {settings.theme!r}: this is {theme}")
    if say:
        app.session.say(say)
    status = app.run()
    signal.alarm(0)  # MonitorApp sets it when a signal told it to leave
    if app.session.experiment is not None:
        left(app.session.experiment.id)
    if app.crash is not None:
        raise app.crash
    return (app.return_code or 0) if status is None else status


def choose_theme(asked: str | None) -> str:
    """The theme asked for, by Textual's name or as `ansi`, `dark`, `light`. By itself `ansi-dark` over SSH and under
    NO_COLOR (the terminal's own 16 colours cost half the bytes) and where it has no more, else `textual-dark`."""
    name = _SHORT.get(asked or "", asked or "")
    if name in BUILTIN_THEMES:
        return name
    own_colours = os.environ.get("SSH_CONNECTION") or "NO_COLOR" in os.environ or not _many_colours()
    return "ansi-dark" if own_colours else "textual-dark"


def _many_colours() -> bool:
    """False where the terminal says that it has 16 colours: a theme's own would be moved to the nearest of them."""
    if os.environ.get("COLORTERM", "").lower() in ("truecolor", "24bit"):
        return True
    term = os.environ.get("TERM", "")
    return "256" in term or "direct" in term or term in ("xterm-kitty", "alacritty", "foot")
