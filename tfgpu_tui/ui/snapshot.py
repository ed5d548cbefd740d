"""What the screen shows now, as text and as a picture that needs nothing from the network."""

from __future__ import annotations

import re
from typing import TypeVar

from textual.app import App

Result = TypeVar("Result")


def screen_rows(app: App[Result]) -> list[str]:
    """The whole screen as text, one string a row."""
    # Screen._compositor.render_strips (textual 8.2.8): what the driver would write, row by row.
    strips = app.screen._compositor.render_strips()
    return ["".join(segment.text for segment in strip) for strip in strips]


def screen_text(app: App[Result]) -> str:
    """The same for a file."""
    return "\n".join(row.rstrip() for row in screen_rows(app)) + "\n"


def screen_svg(app: App[Result]) -> str:
    """A picture without a reference to a font on the network, and with ids that do not change from run to run."""
    svg = app.export_screenshot(title=f"tfgpu-tui  {app.size.width}x{app.size.height}")
    svg = re.sub(r"@font-face\s*\{[^}]*\}", "", svg)
    svg = re.sub(r"terminal-\d+-", "terminal-", svg)
    return re.sub(r"font-family:\s*Fira Code", "font-family: 'Fira Code', 'DejaVu Sans Mono'", svg)
