"""The lines of the script where its own Python was seen, as findings speak of them (pure).

They are counts of looks, ten a second: a share that says where to begin, no measured time.
"""

from __future__ import annotations

from tfgpu_tui.core import units
from tfgpu_tui.core.places import Places
from tfgpu_tui.core.quick import dataclass
from tfgpu_tui.core.rows import ScriptLine
from tfgpu_tui.core.state import RunState

MIN_LOOKS = 10
"""Before that a share of looks says nothing."""
NOTEWORTHY = 0.1
MOST = 0.4
"""Share of the looks from which one line is where to begin."""


@dataclass(frozen=True)
class Seen:
    """A line, and its part of the looks at such lines."""

    place: str
    """`train.py:41`."""
    text: str
    share: float
    looks: int
    of_looks: int
    waits: bool
    """Whether it mostly waited there for another thread, process or machine."""
    calls_model: bool
    """Whether mostly a model ran there, op by op."""

    def sentence(self) -> str:
        """As a line of evidence."""
        what = f"{self.place}  {self.text}" if self.text else self.place
        how = ", in a model that it calls op by op" if self.calls_model else ""
        how = ", waiting for another thread, process or machine" if self.waits else how
        return f"{what}  ({units.share(self.share)} of {self.of_looks} looks at its Python{how})"

    def evidence(self) -> dict[str, object]:
        """As the evidence of a finding has it."""
        return {"place": self.place, "text": self.text, "share": round(self.share, 4), "looks": self.looks}


def loop_lines(state: RunState) -> list[Seen]:
    """Where the script's own Python was seen between the training's compiled functions, most frequent first."""
    told = state.script_lines
    return [] if told is None else _seen(told.loop, told.loop_looks, state.places)


def feed_lines(state: RunState) -> list[Seen]:
    """Where it was seen while it made batches in this process."""
    told = state.script_lines
    return [] if told is None else _seen(told.feed, told.feed_looks, state.places)


def _seen(lines: list[ScriptLine], looks: int, places: Places) -> list[Seen]:
    if looks < MIN_LOOKS:
        return []
    found = [
        Seen(
            place=places.at(line["file"], line["line"]),
            text=str(line.get("text") or ""),
            share=min(1.0, line["looks"] / looks),
            looks=int(line["looks"]),
            of_looks=looks,
            waits=2 * (line.get("waiting") or 0) > line["looks"],
            calls_model=2 * (line.get("in_layer") or 0) > line["looks"],
        )
        for line in lines
    ]
    return [line for line in found if line.share >= NOTEWORTHY]
