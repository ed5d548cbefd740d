"""Where every pane stands, as a pure function of the terminal's size: no overlap by construction."""

from __future__ import annotations

from tfgpu_tui.core.quick import dataclass

MIN_COLUMNS, MIN_ROWS = 60, 15
"""Below this one honest line is shown instead."""
LEAST_TRIALS = 8


@dataclass(frozen=True)
class Rect:
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Band:
    """A row of panes side by side, with their shares of the width and the rows that they want together."""

    panes: tuple[tuple[str, int], ...]
    least: int
    most: int
    weight: int
    keep: int
    """Bands with the lowest number go first where the height is short."""


def arrange(
    columns: int,
    rows: int,
    *,
    gpus: int = 1,
    compare: bool = False,
    zoom: str | None = None,
    printed: bool = True,
    over: bool = False,
    trials: int = 0,
) -> dict[str, Rect]:
    """Pane -> place; `gpus` is how many there are, `printed` is False where no output is to be shown and a comparison
    may have its room. `status` has the first row, and the second one where the run is `over`, `footer` the last; panes
    without a place are not shown. `trials` is how many rows the table of an experiment wants, 0 where there is none."""
    if columns < MIN_COLUMNS or rows < MIN_ROWS:
        return {"status": Rect(0, 0, columns, rows)}
    top = 2 if over else 1
    places = {"status": Rect(0, 0, columns, top), "footer": Rect(0, rows - 1, columns, 1)}
    room = rows - top - 1
    if zoom is not None:
        places[zoom] = Rect(0, top, columns, room)
        return places
    bands = _bands(columns, gpus, compare, printed)
    if trials:
        least = min(LEAST_TRIALS, trials)
        bands.insert(0, Band((("trials", 1),), least, max(least, min(trials, room // 2)), 5, 10))
    bands = _fitting(bands, room)
    y = top
    for band, height in zip(bands, _heights(bands, room), strict=True):
        places |= _side_by_side(band, y, height, columns)
        y += height
    return places


def _bands(columns: int, gpus: int, compare: bool, printed: bool) -> list[Band]:
    if columns >= 160:
        return _wide(gpus, _lowest(columns, compare, printed))
    if columns >= 100:
        return _medium(gpus, compare, printed)
    return _narrow(gpus, compare)


def _lowest(columns: int, compare: bool, printed: bool) -> tuple[tuple[str, int], ...]:
    """The tables and the output: a comparison wants some 70 columns, and so does the placement."""
    if not compare:
        return (("placement", 3), ("output", 2))
    if not printed:
        return (("placement", 1), ("compare", 1))
    if columns >= 200:
        return (("placement", 5), ("compare", 5), ("output", 4))
    return (("compare", 3), ("output", 2))


def _wide(gpus: int, lowest: tuple[tuple[str, int], ...]) -> list[Band]:
    plots = ("step", "gpu", "cpu", "memory", "metric") if gpus else ("step", "cpu", "memory", "metric")
    return [
        Band((("findings", 1),), 6, 7, 1, 9),
        Band(tuple((p, 1) for p in plots), max(7, _each(gpus)), max(15, _each(gpus)), 3, 8),
        Band((("pipeline", 3), ("epochs", 2)), 5, 6 if "compare" in dict(lowest) else 10, 4, 4),
        Band(lowest, 7, 99, 4, 7),
    ]


def _medium(gpus: int, compare: bool, printed: bool) -> list[Band]:
    plots: list[tuple[tuple[str, int], ...]]
    if gpus:
        plots = [(("step", 1), ("gpu", 1), ("memory", 1)), (("cpu", 1), ("metric", 1), ("epochs", 1))]
    else:
        plots = [(("step", 1), ("cpu", 1)), (("memory", 1), ("metric", 1))]
    bands = [
        Band((("findings", 1),), 6, 6, 1, 9),
        Band(plots[0], max(6, _each(gpus)), max(10, _each(gpus)), 3, 8),
        Band(plots[1], 6, 10, 3, 3),
    ]
    if compare:
        beside = (("compare", 2), ("output", 1)) if printed else (("compare", 1),)
        return [*bands, Band(beside, 11, 99, 3, 7), Band((("pipeline", 1),), 4, 8, 1, 2)]
    # Without a GPU there is no reason to give: the placement needs less room.
    low = (("placement", 3), ("output", 2)) if gpus else (("placement", 1), ("output", 1))
    pipeline = (("pipeline", 1),) if gpus else (("pipeline", 3), ("epochs", 2))
    return [*bands, Band(pipeline, 5, 9, 5, 5), Band(low, 6, 99, 3, 7)]


def _narrow(gpus: int, compare: bool) -> list[Band]:
    second = "gpu" if gpus else "cpu"
    bands = [
        Band((("findings", 1),), 6, 7, 1, 9),
        Band((("step", 1), (second, 1)), 6, 10, 2, 8),
        Band((("memory", 1), ("metric", 1)), 6, 10, 2, 3),
    ]
    if compare:
        return [*bands, Band((("compare", 1),), 8, 99, 3, 7)]
    return [
        *bands,
        Band((("pipeline", 1),), 4, 8, 1, 4),
        Band((("placement", 1),), 6, 20, 2, 2),
        Band((("output", 1),), 4, 99, 3, 7),
    ]


def _each(gpus: int) -> int:
    """Rows of a pane that gives each of several GPUs (up to eight) a row, below its title and above its axis."""
    return 2 + min(gpus, 8) if gpus > 1 else 0


def _fitting(bands: list[Band], room: int) -> list[Band]:
    while len(bands) > 1 and sum(b.least for b in bands) > room:
        weakest = min(bands, key=lambda b: b.keep)
        bands = [b for b in bands if b is not weakest]
    return bands


def _heights(bands: list[Band], room: int) -> list[int]:
    """Least heights first, then the rest by weight up to each band's most; the last band takes what is left."""
    heights = [min(b.least, room) for b in bands]
    spare = room - sum(heights)
    while spare > 0:
        open_bands = [i for i, b in enumerate(bands) if heights[i] < b.most]
        if not open_bands:
            break
        grow = min(open_bands, key=lambda i: (heights[i] - bands[i].least + 1) / bands[i].weight)
        heights[grow] += 1
        spare -= 1
    heights[-1] += spare
    return heights


def _side_by_side(band: Band, y: int, height: int, columns: int) -> dict[str, Rect]:
    """One column of air between two panes."""
    room = columns - (len(band.panes) - 1)
    whole = sum(share for _, share in band.panes)
    out: dict[str, Rect] = {}
    x, seen, used = 0, 0, 0
    for name, share in band.panes:
        seen += share
        width = room * seen // whole - used
        used += width
        out[name] = Rect(x, y, width, height)
        x += width + 1
    return out
