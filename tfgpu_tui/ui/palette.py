"""What each role looks like under the chosen theme. Colour never stands alone: words and signs carry meaning too."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from rich.color import Color as RichColor
from rich.style import Style
from textual.color import Color
from textual.theme import Theme

from tfgpu_tui.terminal.lines import Colour, TextStyle
from tfgpu_tui.ui.draw import Role

ROLES = (
    "", "bold", "muted", "title", "focus", "rule", "key", "good", "warning", "critical", "info", "input", "compute",
    "host", "gpu", "memory", "reserved", "foreign", "limit", "metric", "cursor", "hit", "notice", "bar",
)  # fmt: skip


class Palette:
    """Role -> Rich style, for one theme. An ANSI theme uses the terminal's own 16 colours."""

    def __init__(self, theme: Theme) -> None:
        self._styles = _styles(theme)

    def style(self, role: Role) -> Style:
        """The style to lay over the widget's own."""
        return _text_style(role) if isinstance(role, TextStyle) else self._styles[role]


CONTRAST = {"text": 5.0, "leading": 2.2}
"""Ratios of luminance (WCAG 2) that colours are brought to: words, and rules that only lead the eye. The norm for words
is 4.5; the rest is for terminals of 256 colours, where each moves to the nearest one."""


def _luminance(colour: Color) -> float:
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour.normalized]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(a: Color, b: Color) -> float:
    """WCAG 2's ratio, 1 to 21."""
    high, low = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def readable(colour: Color, papers: Sequence[Color], dark: bool, least: float) -> Color:
    """The colour, moved towards white (black in a light theme) as little as it needs to stand out from every paper."""
    end = Color.parse("white" if dark else "black")
    for step in range(21):
        moved = colour.blend(end, step / 20)
        if all(contrast(moved, paper) >= least for paper in papers):
            return moved
    return end


def _styles(theme: Theme) -> dict[str, Style]:
    variables = theme.to_color_system().generate()
    papers = [] if theme.ansi else [Color.parse(variables[name]) for name in ("background", "panel")]

    def paint(name: str | None, bold: bool | None = None, least: str = "text") -> Style:
        if name is None:
            return Style(bold=bold)
        colour = Color.parse(name)
        if not theme.ansi:
            colour = readable(colour, papers, theme.dark, CONTRAST[least])
        return Style(color=colour.rich_color, bold=bold)

    if theme.ansi:
        muted, rule = Style(dim=True), Style(dim=True)
    else:
        ink = Color.parse(variables["foreground"])
        muted = paint(papers[0].blend(ink, 0.62).hex)
        rule = paint(papers[0].blend(ink, 0.35).hex, least="leading")
    good, warning, error = theme.success, theme.warning, theme.error
    # The themes' own secondary colours are made for surfaces: too dark for a line on the background.
    cyan = "ansi_cyan" if theme.ansi else ("#56b6c2" if theme.dark else "#0b6b7a")
    blue = "ansi_blue" if theme.ansi else ("#5fa8ff" if theme.dark else "#1f5fbf")
    magenta = "ansi_magenta" if theme.ansi else ("#b48ead" if theme.dark else "#8f4f8f")
    return {
        "": Style.null(),
        "bold": Style(bold=True),
        "muted": muted,
        "title": Style(bold=True),
        "focus": paint(cyan, bold=True),
        "rule": rule,
        "key": paint(theme.accent or warning, bold=True),
        "good": paint(good),
        "warning": paint(warning, bold=True),
        "critical": paint(error, bold=True),
        "info": paint(cyan),
        "input": paint(warning),
        "compute": paint(good),
        "host": paint(magenta),
        "gpu": paint(good),
        "memory": paint(blue),
        "reserved": rule if theme.ansi else muted,
        "foreign": paint(magenta),
        "limit": paint(error),
        "metric": paint(cyan),
        "cursor": Style(reverse=True),
        "hit": Style(reverse=True, bold=True),
        "notice": paint(warning, bold=True),
        "bar": Style(reverse=True) if theme.ansi else Style(bold=True),
    }


@lru_cache(maxsize=2048)
def shows_on_blank(style: Style) -> bool:
    """True where a blank in this style differs from one without."""
    return style.bgcolor is not None or bool(style.reverse or style.underline or style.underline2 or style.strike)


@lru_cache(maxsize=2048)
def _text_style(style: TextStyle) -> Style:
    return Style(
        color=_rich(style.fg),
        bgcolor=_rich(style.bg),
        bold=style.bold or None,
        dim=style.dim or None,
        italic=style.italic or None,
        underline=style.underline or None,
        reverse=style.reverse or None,
    )


def _rich(colour: Colour) -> RichColor | None:
    if colour is None:
        return None
    return RichColor.from_ansi(colour) if isinstance(colour, int) else RichColor.from_rgb(*colour)
