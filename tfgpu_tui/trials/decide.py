"""What the trials prove: the effect of each setting, with its noise (pure).

A trial is compared with the baselines right before and after it, so that a machine that becomes slower does not
count. How much two runs of the same script differ is learned from the baselines themselves: the windows within a run
say less. Effects are differences of the logarithms of step times: 0.69 is twice as fast.

On a machine that other programs use, the calm quarter of the steps is compared, which they disturb least; what is
faster there and slower on the whole is no gain.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import comb, exp, hypot, log
from statistics import mean, median

from tfgpu_tui.report.compare import SMALLEST_CHANGE
from tfgpu_tui.trials.records import STRETCHES, Group, Record

LEAST_GAIN = log(1 + SMALLEST_CHANGE)
"""Differences under 3 % are never called one."""
LEAST_NOISE = 0.02
"""By so much two runs of a script differ on a quiet machine, as a share of the step time."""
BELIEVED = 2
"""For how many differences of baselines the noise within the runs stands."""
TIMES = 2
"""So often a gain has to be measured, each time beyond the noise."""
MOST_TIMES = 4
"""So often a setting is tried that looks faster each time."""
OFTEN = 3
"""In so many trials no single one has to be beyond the noise: where the mean is `FAR` times its bound, or where each of
them is faster than each baseline, and there are so many that this comes by chance in one of `BY_CHANCE` orders at most:
no noise need be known for that. In simulated experiments of five minutes with runs that differ by 15 and 25 %, and
bursts, a gain of 1.8 is found in 81 and 47 of a hundred (74 and 38 with three trials, and without that), one of 2.2 in
100 and 89 (89 and 66); of those with settings that do nothing, at most 2.5 (2.7) in a hundred say that one helps."""
FAR = 1.5
BY_CHANCE = 100
CROWDED = 15.0
"""Percent of the machine's CPUs that others use in a trial, from which the calm quarter of the steps is compared."""
Z = 1.96
NORMAL = 1.4826
"""Standard deviations in a median of absolute values, for a normal distribution."""


@dataclass(frozen=True)
class Effect:
    """How a setting changes the step time, over all of its trials."""

    setting: dict[str, str]
    each: list[float]
    """Of each trial that was measured: the logarithm of how many times faster it was."""
    bounds: list[float]
    """Of each, two-sided, at 95 %."""
    whole: float
    """The mean over all steps, those that others disturbed, too."""
    apart: bool
    """Whether each trial was faster by what counts than each baseline, and they are `BY_CHANCE`'s many."""

    @property
    def mean(self) -> float:
        return mean(self.each)

    @property
    def bound(self) -> float:
        """Of the mean."""
        return hypot(*self.bounds) / len(self.bounds)

    @property
    def times(self) -> float:
        """How many times faster."""
        return exp(self.mean)

    @property
    def noise(self) -> float:
        """Of `times`, at 95 %, downwards: upwards it is more."""
        return self.times * (1 - exp(-self.bound))

    @property
    def promising(self) -> bool:
        """Faster at each time, by what would count."""
        return self.whole > 0 and all(value > LEAST_GAIN for value in self.each)

    @property
    def beyond(self) -> int:
        """At how many times it was faster by more than the noise of that one."""
        return sum(value > max(bound, LEAST_GAIN) for value, bound in zip(self.each, self.bounds, strict=True))

    @property
    def proved(self) -> bool:
        """Faster at each time, and at most of them, at least two, beyond the noise; or so often that the mean is far
        beyond it, or that no baseline is as fast."""
        most = self.beyond >= max(TIMES, len(self.each) // 2 + 1)
        often = len(self.each) >= OFTEN and (self.mean > FAR * self.bound or self.apart)
        return self.promising and (most or often)

    @property
    def open(self) -> bool:
        """Whether one more trial may prove a gain."""
        return self.promising and not self.proved and len(self.each) < MOST_TIMES

    @property
    def slower(self) -> bool:
        return self.mean < -LEAST_GAIN and -self.mean > self.bound

    @property
    def nothing(self) -> bool:
        """Whether a gain that counts is ruled out."""
        return self.mean + self.bound < LEAST_GAIN


def effects(records: Sequence[Record]) -> list[Effect]:
    """Of each setting with a trial that can be compared, in the order in which they were tried."""
    order: list[dict[str, str]] = []
    for record in records:
        if not record.is_baseline and record.setting not in order:
            order.append(record.setting)
    found = (effect(records, setting) for setting in order)
    return [each for each in found if each is not None]


def effect(records: Sequence[Record], setting: dict[str, str]) -> Effect | None:
    """Of one setting; None where no trial of it can be compared with a baseline."""
    shown = compared(records)
    told = _trials(shown, setting)
    if not told:
        return None
    t, whole = _quantile(records), [value for value, _ in _trials(records, setting)]
    bounds = [t * variance**0.5 for _, variance in told]
    return Effect(setting, [value for value, _ in told], bounds, mean(whole), _apart(shown, setting))


def _apart(records: Sequence[Record], setting: dict[str, str]) -> bool:
    known = [r for r in records if r.measured]
    bases, trials = [r for r in known if r.is_baseline], [r for r in known if r.setting == setting]
    pairs = (_logs(base, trial) for base in bases for trial in trials)
    orders = comb(len(bases) + len(trials), len(trials))
    return orders >= BY_CHANCE and all(base - own > LEAST_GAIN for base, own in pairs)


def _trials(records: Sequence[Record], setting: dict[str, str]) -> list[tuple[float, float]]:
    """(effect, its variance) of each trial with a baseline beside it."""
    told = [_beside_baselines(records, i) for i, r in enumerate(records) if r.setting == setting and r.measured]
    return [each for each in told if each is not None]


def crowded(records: Sequence[Record]) -> bool:
    """Whether other programs used much of the machine in any trial, and the calm quarter of each is known."""
    known = [r for r in records if r.measured]
    busy = any(r.others_cpu is not None and r.others_cpu >= CROWDED for r in known)
    return busy and all(r.whole is not None and r.whole.calm is not None for r in known)


def compared(records: Sequence[Record]) -> Sequence[Record]:
    """The records with the paces that are compared, and shown."""
    if not crowded(records):
        return records
    return [replace(r, **{name: pace.calm for name in STRETCHES if (pace := getattr(r, name))}) for r in records]


def _beside_baselines(records: Sequence[Record], i: int) -> tuple[float, float] | None:
    """(effect, its variance) of one trial; None without a baseline beside it."""
    trial, sigma = records[i], _noise(records)
    before = next((r for r in reversed(records[:i]) if r.is_baseline and r.measured), None)
    after = next((r for r in records[i + 1 :] if r.is_baseline and r.measured), None)
    beside = [r for r in (before, after) if r is not None]
    pairs = [_logs(r, trial) for r in beside]
    if not pairs:
        return None
    value = mean(base - own for base, own in pairs)
    if len(pairs) == 1:
        return value, 2 * sigma**2
    jump = pairs[0][0] - pairs[1][0]
    return value, max(1.5 * sigma**2, sigma**2 + jump**2 / 4)


def _logs(base: Record, trial: Record) -> tuple[float, float]:
    """Logarithms of both step times over the same stretch: after the first pass over the data where both came so far,
    else in it."""
    for stretch in STRETCHES:
        a, b = getattr(base, stretch), getattr(trial, stretch)
        if a is not None and b is not None:
            return log(a.ms), log(b.ms)
    raise AssertionError("a measured trial has a step time")


def _differences(records: Sequence[Record]) -> list[float]:
    """Between each two baselines that follow one another."""
    bases = [r for r in records if r.is_baseline and r.measured]
    return [a - b for a, b in (_logs(x, y) for x, y in itertools.pairwise(bases))]


def noise(records: Sequence[Record]) -> float:
    """By how much one run differs from the next of the same script, as a share of its step time: one standard
    deviation. What the windows within the runs say counts as `BELIEVED` differences of baselines. Of these the median
    counts: a machine that others used for the time of one of them says little of the trials that were far from it, and
    those beside it have their own jump."""
    return _noise(compared(records))


def _noise(records: Sequence[Record]) -> float:
    within = [r.whole.error_ms / r.whole.ms for r in records if r.measured and r.whole is not None]
    prior = max(LEAST_NOISE, median(within) if within else 0.0)
    seen = [abs(each) for each in _differences(records)]
    between = NORMAL * median(seen) if seen else 0.0
    return float(((BELIEVED * prior**2 + len(seen) * between**2 / 2) / (BELIEVED + len(seen))) ** 0.5)


def _quantile(records: Sequence[Record]) -> float:
    """Student's t at 97.5 % for so many differences (the expansion of Hill, 1970: within 4 % from 3 on)."""
    n = BELIEVED + max(1, len(_differences(records)))
    return Z + (Z**3 + Z) / (4 * n) + (5 * Z**5 + 16 * Z**3 + 3 * Z) / (96 * n * n)


def drift(records: Sequence[Record]) -> tuple[float, float] | None:
    """(shortest, longest) step time of the baselines in ms, where they differ by more than their noise would."""
    bases = [r.shown for r in compared(records) if r.is_baseline and r.measured]
    known = [pace.ms for pace in bases if pace is not None]
    if len(known) < 2 or log(max(known) / min(known)) < max(0.05, 3 * LEAST_NOISE):
        return None
    return min(known), max(known)


def best(group: Group) -> Effect | None:
    """What to keep: the fewest settings of those whose gain is proved, unless more of them gain more. None where
    nothing helps."""
    bounds = [each.setting for each in group.plan.candidates if each.bound] if group.plan else []
    proved = [each for each in effects(group.records) if each.proved and each.setting not in bounds]
    single = max((e for e in proved if len(e.setting) == 1), key=lambda e: e.mean, default=None)
    together = max((e for e in proved if len(e.setting) > 1), key=lambda e: e.mean, default=None)
    if single is None or together is None:
        return single or together
    return together if together.mean - single.mean > LEAST_GAIN else single


def helped(group: Group) -> bool:
    """Whether something is worth keeping."""
    return best(group) is not None
