"""Time series of fixed size: an hour, a day and a month cost the same memory (pure)."""

from __future__ import annotations

from tfgpu_tui.core.quick import dataclass

BUCKETS = 720
"""Of a series that is drawn over the whole width of a screen."""


@dataclass
class _Bucket:
    total: float
    weight: float
    highest: float


class Series:
    """Weighted means of a value over equal buckets of time; when full, neighbours merge and the bucket doubles.

    `capacity` buckets of `bucket_s` seconds at first. A bucket without a value stays unknown (None), never zero.
    """

    def __init__(self, capacity: int = BUCKETS, bucket_s: float = 0.5) -> None:
        if capacity < 2 or bucket_s <= 0:
            raise ValueError("a series needs at least two buckets of a positive length")
        self.capacity = capacity
        self.bucket_s = bucket_s
        self.latest: float | None = None
        self.highest: float | None = None
        self._buckets: dict[int, _Bucket] = {}
        self._first: int | None = None
        self._last: int | None = None
        self._asked: tuple[float, float, int, bool] | None = None
        """What `columns` was last asked for, and what it said: a plot asks the same again at every tick, when only the
        newest buckets are others, those from `_changed` on."""
        self._said: list[float | None] = []
        self._changed = 0
        self._typical_of: tuple[float, float] | None = None
        self._typical: float | None = None

    def __len__(self) -> int:
        return len(self._buckets)

    @property
    def start(self) -> float | None:
        """Time of the left edge of the first bucket."""
        return None if self._first is None else self._first * self.bucket_s

    @property
    def end(self) -> float | None:
        """Time of the right edge of the last bucket."""
        return None if self._last is None else (self._last + 1) * self.bucket_s

    def add(self, t: float, value: float, weight: float = 1.0) -> None:
        """A value at time `t` (unix seconds)."""
        self.add_span(t, t, value, weight)

    def add_span(self, begin: float, end: float, value: float, weight: float = 1.0) -> None:
        """A value that held from `begin` to `end`: every bucket in between learns it, the weight is shared out.

        A span that ended before the whole series began (a clock that was set back) counts at its first bucket.
        """
        if weight <= 0:
            return
        self.latest = value
        self.highest = value if self.highest is None else max(self.highest, value)
        self._make_room(end)
        last = self._index(end)
        first = max(min(self._index(begin), last), last - self.capacity + 1)
        part = weight / (last - first + 1)
        for i in range(first, last + 1):
            bucket = self._buckets.get(i)
            if bucket is None:
                self._buckets[i] = _Bucket(value * part, part, value)
            else:
                bucket.total += value * part
                bucket.weight += part
                bucket.highest = max(bucket.highest, value)
        self._changed = min(self._changed, first)
        self._typical_of = None
        self._first = first if self._first is None else min(self._first, first)
        self._last = last if self._last is None else max(self._last, last)
        while self._last - self._first >= self.capacity:
            self._halve()

    def mean(self, begin: float | None = None, end: float | None = None) -> float | None:
        """Weighted mean over [begin, end); the whole series by default. None where nothing was measured."""
        total = weight = 0.0
        for i, bucket in self._buckets.items():
            at = (i + 0.5) * self.bucket_s
            if (begin is None or at >= begin) and (end is None or at < end):
                total += bucket.total
                weight += bucket.weight
        return total / weight if weight else None

    def columns(self, begin: float, end: float, count: int, highest: bool = False) -> list[float | None]:
        """`count` equal columns over [begin, end): the mean (or the highest value) of each, None where unknown.

        A column narrower than a bucket repeats the bucket that covers it, so that a plot has no holes.
        """
        if count <= 0 or end <= begin:
            return []
        if self._first is None or self._last is None:
            return [None] * count
        asked = (begin, end, count, highest)
        if asked != self._asked:
            self._asked, self._said, self._changed = asked, [None] * count, self._first
        if self._changed <= self._last:
            width = (end - begin) / count
            # One column more at both ends, for numbers that are rounded.
            first = max(0, int((self._changed * self.bucket_s - begin) // width) - 1)
            last = min(count, int(((self._last + 1) * self.bucket_s - begin) // width) + 2)
            for c in range(first, last):
                self._said[c] = self._column(begin + c * width, width, highest)
            self._changed = self._last + 1
        return list(self._said)

    def _column(self, left: float, width: float, highest: bool) -> float | None:
        assert self._first is not None and self._last is not None
        first = int(left // self.bucket_s)
        last = max(first, int((left + width - 1e-9) // self.bucket_s))
        total = weight = 0.0
        top: float | None = None
        for i in range(max(first, self._first), min(last, self._last) + 1):
            bucket = self._buckets.get(i)
            if bucket is not None:
                total += bucket.total
                weight += bucket.weight
                top = bucket.highest if top is None or bucket.highest > top else top
        return top if highest else total / weight if weight else None

    def rows(self) -> list[tuple[float, float]]:
        """(time of the bucket's middle, mean) in order: for export."""
        return [((i + 0.5) * self.bucket_s, b.total / b.weight) for i, b in sorted(self._buckets.items())]

    def typical(self, begin: float, end: float) -> float | None:
        """The median of the buckets whose middle lies in [begin, end]; None where nothing was measured. Several
        verdicts ask the same of it."""
        if self._typical_of != (begin, end):
            from statistics import median  # late: 4 ms of the way to a screen's first paint

            width = self.bucket_s
            values = [b.total / b.weight for i, b in self._buckets.items() if begin <= (i + 0.5) * width <= end]
            self._typical_of, self._typical = (begin, end), median(values) if values else None
        return self._typical

    def weight_until(self) -> list[tuple[float, float]]:
        """(time of the bucket's middle, weight of all values up to it) in order: for a series weighted by steps, how
        many were done by then."""
        out, weight = [], 0.0
        for i, bucket in sorted(self._buckets.items()):
            weight += bucket.weight
            out.append(((i + 0.5) * self.bucket_s, weight))
        return out

    def _index(self, t: float) -> int:
        return int(t // self.bucket_s)

    def _make_room(self, t: float) -> None:
        """Widens the buckets until `t` fits, before anything is stored: one far jump costs log2(jump), not jump."""
        while self._first is not None and abs(self._index(t) - self._first) >= 2 * self.capacity:
            self._halve()

    def _halve(self) -> None:
        self._asked = None
        merged: dict[int, _Bucket] = {}
        for i, bucket in self._buckets.items():
            into = merged.get(i // 2)
            if into is None:
                merged[i // 2] = bucket
            else:
                into.total += bucket.total
                into.weight += bucket.weight
                into.highest = max(into.highest, bucket.highest)
        self._buckets = merged
        self.bucket_s *= 2
        self._first, self._last = min(merged), max(merged)


class Decimated:
    """(x, y) samples of fixed number, evenly thinned: when full every second one is dropped and the stride doubles."""

    def __init__(self, capacity: int = 256) -> None:
        self.capacity = capacity
        self.points: list[tuple[float, float]] = []
        self._stride = 1
        self._seen = 0

    @property
    def latest_x(self) -> float:
        """Of the newest sample that was kept."""
        return self.points[-1][0] if self.points else float("-inf")

    def add(self, x: float, y: float) -> None:
        """Keeps every `stride`-th sample."""
        if self._seen % self._stride == 0:
            self.points.append((x, y))
            if len(self.points) >= self.capacity:
                self.points = self.points[::2]
                self._stride *= 2
        self._seen += 1
