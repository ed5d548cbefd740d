"""What is tried next, from what was tried (pure).

Baselines stand between the trials: A B A C A. What is faster beyond the noise is tried again at once: one gain that is
proved says more than two that may be none. Then come the other candidates, what only looks faster or could still be
much faster, and what is proved together.
"""

from __future__ import annotations

from tfgpu_tui.trials import decide
from tfgpu_tui.trials.records import BASELINE, Group, Record

WORTH = 0.10
"""A possible gain from which what is not decided is worth a second trial."""
BAD_BASELINES = 2
"""So many baselines in a row without a measurement, and nothing can be compared."""


def following(group: Group) -> dict[str, str] | None:
    """The setting of the next trial, an empty one for a baseline; None where all is known that trials can tell."""
    records = group.records
    if untriable(group):
        return None
    wanted = _wanted(group)
    if not records or not any(r.is_baseline and r.measured for r in records):
        return BASELINE
    last = records[-1]
    needs_baseline = (not last.is_baseline and last.measured) or (last.is_baseline and not last.measured)
    return BASELINE if needs_baseline else wanted


def untriable(group: Group) -> bool:
    """The script as it is could not be measured."""
    bases = [r for r in group.records if r.is_baseline]
    if not any(r.measured for r in bases):
        return bool(bases)
    return len(bases) >= BAD_BASELINES and not any(r.measured for r in bases[-BAD_BASELINES:])


def _wanted(group: Group) -> dict[str, str] | None:
    if group.plan is None:
        return None
    tried = {_key(r.setting) for r in group.records}
    settings = [each.setting for each in group.plan.candidates]
    known = decide.effects(group.records)
    again = sorted((e for e in known if e.open), key=lambda e: -e.mean)
    if clear := [e for e in again if e.beyond == len(e.each)]:
        return clear[0].setting
    fresh = next((s for s in settings if _key(s) not in tried), None)
    if fresh is not None:
        return fresh
    together = combination(group)
    if not again and together is not None and _key(together) not in tried:
        return together
    unsure = [e for e in known if len(e.each) < decide.TIMES and not e.slower and e.mean + e.bound > WORTH]
    # What may be fastest comes first: a trial on a machine that was busy meanwhile says little of its setting.
    return max((*again, *unsure), key=lambda e: e.mean + e.bound).setting if again or unsure else None


def combination(group: Group) -> dict[str, str] | None:
    """All settings that are proved, the best value of each knob; None where there are not two of them."""
    bounds = [each.setting for each in group.plan.candidates if each.bound] if group.plan else []
    proved = [e for e in decide.effects(group.records) if e.proved and len(e.setting) == 1 and e.setting not in bounds]
    together: dict[str, str] = {}
    for effect in sorted(proved, key=lambda e: -e.mean):
        for name, value in effect.setting.items():
            together.setdefault(name, value)
    return together if len(together) > 1 else None


def left(group: Group) -> int:
    """How many trials are still to come, at the least: what the rest of the time is shared out to."""
    tried = {_key(r.setting) for r in group.records}
    candidates = group.plan.candidates if group.plan else []
    fresh = sum(_key(each.setting) not in tried for each in candidates)
    again = sum(e.open for e in decide.effects(group.records))
    return max(1, 2 * (fresh + again) + (0 if group.records and group.records[-1].is_baseline else 1))


def to_proof(group: Group) -> int:
    """Trials that would prove one more gain, from here on: each of them gets as much of the rest of the time."""
    again = [e for e in decide.effects(group.records) if e.open]
    missing = min((decide.TIMES - min(e.beyond, decide.TIMES - 1) for e in again), default=decide.TIMES)
    last = group.records[-1] if group.records else None
    return 2 * missing + (0 if last is not None and last.is_baseline and last.measured else 1)


def _key(setting: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(setting.items()))


def reference(group: Group) -> Record | None:
    """The newest baseline that was measured."""
    return next((r for r in reversed(group.records) if r.is_baseline and r.measured), None)
