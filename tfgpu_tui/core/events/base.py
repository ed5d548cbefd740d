"""What all events have in common, and the buckets in which they count durations."""

from __future__ import annotations

import math
from typing import ClassVar

from tfgpu_tui.core.quick import dataclass

HISTOGRAM_STEPS_PER_OCTAVE = 8
"""Durations are counted in logarithmic buckets, 8 an octave: 9 % wide, so a percentile is right within 4.5 %."""

HISTOGRAM_LAST = 640
"""A bucket beyond the age of the universe: of a broken peer."""


def histogram_bucket(duration_s: float) -> int:
    """The bucket of a duration: floor(8 * log2(microseconds)); durations under 1 µs count as 1 µs."""
    return math.floor(HISTOGRAM_STEPS_PER_OCTAVE * math.log2(max(duration_s * 1e6, 1.0)))


def histogram_value_s(bucket: int) -> float:
    """The geometric middle of a bucket, in seconds."""
    bucket = min(bucket, HISTOGRAM_LAST)
    return float(2.0 ** ((bucket + 0.5) / HISTOGRAM_STEPS_PER_OCTAVE) / 1e6)


@dataclass(frozen=True, kw_only=True)
class Event:
    """What every line carries."""

    type: ClassVar[str] = ""
    senders: ClassVar[tuple[str, ...]] = ("agent",)
    """Who may tell it: values of `src`."""
    t: float
    """When: unix seconds."""
    src: str = ""
    """Who told it: `agent` (inside a process of the script), or of the supervisor `child` (which looks after the
    script), `host` or `gpu` (its samplers)."""
    pid: int | None = None
    """Which process it is about."""
