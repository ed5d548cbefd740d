"""What compute is made of, in words and in order (pure): for the screen, the reports and the comparison."""

from __future__ import annotations

from tfgpu_tui.core import events as ev

WORDS = {
    "forward": "forward",
    "backward": "backward",
    "optimizer": "optimizer",
    "loss": "loss and metrics",
    "python": "Python in the graph",
    "copies": "copies between devices",
    "collectives": "collectives",
    "input": "taking the batch",
    "compiled": "compiled by XLA",
    "gaps": "gaps on the GPU",
    "runtime": "TensorFlow's runtime",
    "unknown": "unknown",
}
"""Part of `events.LayerTimes.parts` -> how a person reads it. Others, of a newer agent, are read as they are."""


def words(part: str) -> str:
    """How a person reads this part."""
    return WORDS.get(part, part)


def layers(times: ev.LayerTimes) -> list[tuple[str, dict[str, float]]]:
    """(row of the placement, part -> share of compute), those with most of it first."""
    whole = sum(times.parts.values())
    if whole <= 0:
        return []
    hottest = sorted(times.by_layer.items(), key=lambda item: -sum(item[1].values()))
    return [(name, {part: ms / whole for part, ms in row.items()}) for name, row in hottest]
