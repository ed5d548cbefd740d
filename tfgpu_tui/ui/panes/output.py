"""What the script prints, with its colours; follows the newest line unless its reader scrolled up."""

from __future__ import annotations

from tfgpu_tui.ui.draw import Box, Content, Row, marked, note, shifted
from tfgpu_tui.ui.view import View


def content(view: View, box: Box) -> Content:
    """The lines of the script's terminal."""
    lines = view.lines
    count = len(lines)
    right: Row = (("no more is kept: output.log is full", "warning"),) if view.state.log_capped else ()
    if not count:
        return note((("output", ""),), _why_empty(view), box.width, right=right)
    search = view.search if view.search is not None and view.search.pane == "output" else None
    if search is not None:
        found = f"{search.at + 1} of {len(search.hits)}" if search.hits else "nowhere"
        right = ((f"“{search.text}” {found}", "notice"), *right)
    if box.shift:
        right = ((f"from column {box.shift + 1}", "muted"), *right)

    def line(index: int) -> Row:
        row: Row = lines.lines(index, index + 1)[0]
        row = shifted(row, box.shift) if box.shift else row
        return ((" ", ""), *(marked(row, search.text, "hit") if search is not None else row))

    return Content(title=(("output", ""),), right=right, count=count, line=line, follow=True, shifts=True)


def drawn_from(view: View) -> object:
    """Equal as long as `content` draws the same in the same box; None where it may always be another."""
    lines = view.lines
    return (lines, lines.changed, view.search, view.state.log_capped) if len(lines) else None


def _why_empty(view: View) -> str:
    words = view.waiting_words()
    if view.state.run is not None and view.state.run.mode == "headless" and view.trials is None:
        return "this run was started headless: its output went to its own terminal"
    if view.state.running and view.state.run is not None:
        return f"nothing printed yet ({words})"
    return words
