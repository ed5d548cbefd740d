"""The whole run: where its wall time went from start to exit, each part with a bar; and where it stood meanwhile."""

from __future__ import annotations

from tfgpu_tui.core import units
from tfgpu_tui.core.account import WORDS, Part, place_words, whole_run
from tfgpu_tui.core.places import Places
from tfgpu_tui.core.rows import StoodAt
from tfgpu_tui.terminal.lines import printable
from tfgpu_tui.ui.draw import Box, Content, Role, Row, clip, note, pad, static
from tfgpu_tui.ui.view import View

LABEL = max(map(len, WORDS.values()))
ROLES: dict[str, Role] = {"steps": "compute", "first_batch": "input", "warmup": "compute"}
OF = {"input_wait": "input wait", "compute": "compute", "host": "host", "tensorflow": "TensorFlow"}
PLACES = 4


def content(view: View, box: Box) -> Content:
    """One row a part in the order of the run; below, the lines at which its main thread stood outside of steps."""
    found = whole_run(view.state)
    if found is None:
        return note((("whole run", ""),), view.waiting_words(), box.width)
    title: Row = ((f"whole run {units.duration(found.wall_s)}", ""),)
    rows = [_part(part, found.wall_s, box.width, view) for part in found.parts]
    if found.places:
        rows += [(), ((" where it stood outside of steps", "muted"),)]
        rows += [_place(place, view.state.places, box.width) for place in found.places[:PLACES]]
    return static(title, rows)


def _part(part: Part, wall_s: float, width: int, view: View) -> Row:
    share = part.seconds / wall_s
    said = ", ".join(f"{OF.get(name, name)} {units.duration(seconds)}" for name, seconds in part.of.items())
    left = f" {pad(part.words, LABEL)} {pad(units.duration(part.seconds), 7, right=True)} "
    left += f"{pad(units.share(share), 6, right=True)} "
    room = max(0, width - len(left) - 1)
    cells = min(20, max(8, room - 50), room)
    bar = pad(view.glyphs.layers[1] * round(share * cells), cells)
    return (left, ""), (bar, ROLES.get(part.key, "info")), (clip(f" {said}", max(0, room - cells)), "muted")


def _place(place: StoodAt, places: Places, width: int) -> Row:
    seconds = pad(units.duration(place["seconds"]), 7, right=True)
    text = printable(f" {seconds}  {place_words(place, places)}  {place['text']}")
    return ((clip(text, width), ""),)
