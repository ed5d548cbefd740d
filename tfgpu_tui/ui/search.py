"""Finds words in the output and in the placement: rows that hold them, and which of them is shown (pure)."""

from __future__ import annotations

from dataclasses import replace

from tfgpu_tui.ui.panes import placement
from tfgpu_tui.ui.view import Search, View

PANES = ("output", "placement")


def start(view: View, pane: str, text: str) -> Search:
    """A search from the newest line of the output, or the first layer."""
    hits = _hits(view, pane, text)
    return Search(pane, text, hits, len(hits) - 1 if pane == "output" and hits else 0)


def again(view: View) -> Search | None:
    """The same search in what the pane holds now; it stays at the row where it was."""
    found = view.search
    if found is None:
        return None
    hits = _hits(view, found.pane, found.text)
    if hits == found.hits:
        return found
    was = found.hits[found.at] if found.hits else None
    return replace(found, hits=hits, at=hits.index(was) if was in hits else max(0, min(found.at, len(hits) - 1)))


def step(found: Search | None, by: int) -> Search | None:
    """The next place, around the end."""
    if found is None or not found.hits:
        return found
    return replace(found, at=(found.at + by) % len(found.hits))


def _hits(view: View, pane: str, text: str) -> tuple[int, ...]:
    wanted = text.lower()
    if not wanted:
        return ()
    if pane == "placement":
        rows = [
            f"{layer.get('layer')} {layer.get('class')} {layer.get('reason') or ''}" for layer in placement.rows(view)
        ]
    else:
        rows = ["".join(part for part, _ in line) for line in view.lines.lines()]
    return tuple(i for i, row in enumerate(rows) if wanted in row.lower())
