"""Every colour can be read on its background: in every theme that is offered by name, in true colour and in 256."""

from __future__ import annotations

import pytest
from rich.color import Color, ColorSystem, ColorType
from rich.terminal_theme import TerminalTheme
from textual.color import Color as Textual
from textual.theme import BUILTIN_THEMES

from tests.ui.conftest import FakeControl, shows
from tests.ui.test_snapshots import RECORDINGS
from tfgpu_tui.runs import rundir
from tfgpu_tui.runs.configuration import Settings
from tfgpu_tui.ui.app import choose_theme
from tfgpu_tui.ui.draw import UNICODE
from tfgpu_tui.ui.monitor import MonitorApp
from tfgpu_tui.ui.palette import ROLES, Palette

TEXT, GRAPHIC = 4.5, 1.8
"""Contrast ratios (WCAG 2): of words, and of rules and frames that only lead the eye."""
TEXT_256 = 3.0
"""Of words where the terminal moves every colour to the nearest of 256."""
LEADING = {"rule", "reserved"}
XTERM = TerminalTheme(
    (0, 0, 0), (229, 229, 229),
    [(0, 0, 0), (205, 0, 0), (0, 205, 0), (205, 205, 0), (0, 0, 238), (205, 0, 205), (0, 205, 205), (229, 229, 229)],
    [(127, 127, 127), (255, 0, 0), (0, 255, 0), (255, 255, 0), (92, 92, 255), (255, 0, 255), (0, 255, 255),
     (255, 255, 255)],
)  # fmt: skip


def luminance(rgb: tuple[int, int, int]) -> float:
    parts = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(a: tuple[int, int, int], b: tuple[int, int, int]) -> float:
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def rgb(colour: Color) -> tuple[int, int, int]:
    triplet = colour.get_truecolor(XTERM)
    return triplet.red, triplet.green, triplet.blue


@pytest.mark.parametrize("name", ["textual-dark", "textual-light", "nord", "gruvbox", "dracula", "solarized-light"])
@pytest.mark.parametrize("system", [ColorSystem.TRUECOLOR, ColorSystem.EIGHT_BIT])
def test_words_stand_out_from_the_background(name: str, system: ColorSystem) -> None:
    theme = BUILTIN_THEMES[name]
    variables = theme.to_color_system().generate()
    palette = Palette(theme)
    for surface in ("background", "panel"):
        paper = rgb(Textual.parse(variables[surface]).rich_color.downgrade(system))
        for role in ROLES:
            style = palette.style(role)
            if style.color is None or style.color.type is ColorType.DEFAULT:
                continue
            ink = rgb(style.color.downgrade(system))
            if surface == "panel" and role in LEADING:
                continue  # the status line and the footer have no rules
            words = TEXT if system is ColorSystem.TRUECOLOR else TEXT_256
            least = GRAPHIC if role in LEADING else words
            assert contrast(ink, paper) >= least, (role, surface, round(contrast(ink, paper), 2), ink, paper)


def test_the_ansi_themes_use_the_terminal_s_own_colours() -> None:
    for name in ("ansi-dark", "ansi-light"):
        palette = Palette(BUILTIN_THEMES[name])
        for role in ROLES:
            colour = palette.style(role).color
            assert colour is None or colour.type in (ColorType.STANDARD, ColorType.DEFAULT), role


def test_no_meaning_by_colour_alone() -> None:
    assert len(set(UNICODE.layers)) == 3


@pytest.mark.parametrize(
    ("environment", "theme"),
    [
        ({"TERM": "xterm-256color"}, "textual-dark"),
        ({"TERM": "xterm", "COLORTERM": "truecolor"}, "textual-dark"),
        ({"TERM": "linux"}, "ansi-dark"),
        ({"TERM": "xterm"}, "ansi-dark"),
        ({"TERM": "xterm-256color", "SSH_CONNECTION": "1"}, "ansi-dark"),
        ({"TERM": "xterm-256color", "NO_COLOR": ""}, "ansi-dark"),
    ],
)
def test_the_theme_suits_the_terminal(environment: dict[str, str], theme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TERM", "COLORTERM", "SSH_CONNECTION", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert choose_theme(None) == theme
    assert choose_theme("light") == "textual-light"


@pytest.mark.parametrize("theme", ["textual-light", "ansi-light"])
async def test_severity_is_written_in_words(theme: str, control: FakeControl) -> None:
    run = rundir.find(str(RECORDINGS / "one-gpu-input-bound.jsonl"))
    app = MonitorApp(run, Settings(interval_s=0.1), theme=theme, control=control)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "Input-bound", "critical", "input" if app.size.width > 90 else "in 8")
