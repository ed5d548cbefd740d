"""What the script prints, with its colours; follows the newest line unless its reader scrolled up."""

from __future__ import annotations

from tfgpu_tui.ui.draw import Box, Content, Row, note
from tfgpu_tui.ui.view import View


def content(view: View, box: Box) -> Content:
    """The lines of the script's terminal."""
    lines = view.lines
    count = len(lines)
    right: Row = (("no more is kept: output.log is full", "warning"),) if view.state.log_capped else ()
    if not count:
        words = view.waiting_words()
        if view.state.run is not None and view.state.run.mode == "headless":
            words = "this run was started headless: its output went to its own terminal"
        elif view.state.running and view.state.run is not None:
            words = f"nothing printed yet ({words})"
        return note((("output", ""),), words, box.width, right=right)

    def line(index: int) -> Row:
        return ((" ", ""), *lines.lines(index, index + 1)[0])

    return Content(title=(("output", ""),), right=right, count=count, line=line, follow=True)
