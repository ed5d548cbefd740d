"""What goes to the terminal for a change: the cells that changed, and no others."""

from __future__ import annotations

from rich.console import Console, RenderableType
from textual._compositor import ChopsUpdate


class CellsUpdate(ChopsUpdate):
    """Textual's own (`_compositor.py`, ChopsUpdate.render_segments, 8.2.8) knows which cells changed, and sends each
    line from the left edge of its widget up to them: of a plot that grows at its right end, all of it."""

    def render_segments(self, console: Console) -> str:
        out: list[str] = []
        for y, left, right in self.spans:
            for end, (begin, strip) in zip(self.chop_ends[y], self.chops[y].items(), strict=True):
                first, last = max(left, begin), min(right, end)
                if strip is not None and first < last:
                    out.append(f"\x1b[{y + 1};{first + 1}H")
                    out.append(strip.crop(first - begin, last - begin).render(console))
        return "".join(out)


def only_what_changed(update: RenderableType | None) -> RenderableType | None:
    """The same update, in fewer bytes where it can be."""
    if isinstance(update, ChopsUpdate):
        return CellsUpdate(update.chops, update.spans, update.chop_ends)
    return update
