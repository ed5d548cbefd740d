"""Numbers to text, the same way everywhere. `None` is always `–`: unknown is never shown as zero."""

from __future__ import annotations

import math

UNKNOWN = "–"


def _shown(value: float | None) -> float | None:
    """None where there is nothing to show as a quantity: also for NaN, infinity, and integers beyond any float, which a
    journal from elsewhere may hold."""
    try:
        return value if value is not None and math.isfinite(value) else None
    except OverflowError:
        return None


def number(value: float | None, digits: int = 3) -> str:
    """`digits` significant digits with k / M / G: 5234 -> `5.23k`."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value:g}"  # a loss may be that
    if (value := _shown(value)) is None:
        return UNKNOWN
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            return f"{_significant(value / (1e3 if suffix == 'k' else limit), digits)}{suffix}"
    return _significant(value, digits)


def _significant(value: float, digits: int) -> str:
    if value == 0:
        return "0"
    whole = len(str(int(abs(value)))) if abs(value) >= 1 else 0
    if whole:
        return f"{value:.{max(0, digits - whole)}f}"
    return f"{value:.{digits}g}"


def duration(seconds: float | None) -> str:
    """A time with its unit: `41 µs`, `3.2 ms`, `31.8 ms`, `1.24 s`, `2 min 05 s`."""
    if (seconds := _shown(seconds)) is None:
        return UNKNOWN
    if seconds >= 120:
        return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    if seconds >= 1:
        return f"{_significant(seconds, 3)} s"
    if seconds >= 1e-3:
        return f"{_significant(seconds * 1e3, 3)} ms"
    return f"{seconds * 1e6:.0f} µs"


def clock(seconds: float | None) -> str:
    """`04:12`, `1:03:41`: elapsed or remaining time."""
    if (seconds := _shown(seconds)) is None:
        return UNKNOWN
    whole = max(0, int(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, secs = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{secs:02d}" if hours else f"{minutes:02d}:{secs:02d}"


def size(value: float | None) -> str:
    """Bytes in binary units: `512 B`, `9.4 KiB`, `15.9 GiB`."""
    if (value := _shown(value)) is None:
        return UNKNOWN
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(value) < 1024 or unit == "TiB":
            return f"{value:.0f} {unit}" if unit == "B" or abs(value) >= 100 else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("unreachable")


def rate(bytes_per_second: float | None) -> str:
    """Bytes a second: `3.1 MiB/s`."""
    return UNKNOWN if _shown(bytes_per_second) is None else f"{size(bytes_per_second)}/s"


def percent(value: float | None) -> str:
    """0..100 to text: `61 %`; small shares keep a digit: `0.4 %`."""
    if (value := _shown(value)) is None:
        return UNKNOWN
    return f"{value:.1f} %" if 0 < abs(value) < 1 else f"{value:.0f} %"


def share(value: float | None) -> str:
    """0..1 as a percentage."""
    value = _shown(value)
    return percent(None if value is None else value * 100)
