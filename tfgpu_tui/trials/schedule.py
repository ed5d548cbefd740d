"""What is tried next, from what was tried (pure).

Baselines stand between the trials: A B A C A. What is faster beyond the noise is tried again at once, and what looks
faster where the time allows no more than that: one gain that is proved says more than two that may be none. Then come
the other candidates, what only looks faster or could still be much faster, what is proved together, and what is only a
limit to compare with.
"""

from __future__ import annotations

from math import inf
from statistics import mean

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
    bounds = _bounds(group)
    settings = [each.setting for each in group.plan.candidates if not each.bound]
    known = [e for e in decide.effects(group.records) if e.setting not in bounds]
    again = _open(group)
    if clear := [e for e in again if e.beyond == len(e.each)]:
        return clear[0].setting
    fresh = next((s for s in settings if _key(s) not in tried), None)
    if again and _trials_left(group) < 2 + 2 * min(map(_missing, again)):
        return min(again, key=_missing).setting
    if fresh is not None:
        return fresh
    together = combination(group)
    if not again and together is not None and _key(together) not in tried:
        return together
    unsure = [e for e in known if len(e.each) < decide.TIMES and not e.slower and e.mean + e.bound > WORTH]
    # What may be fastest comes first: a trial on a machine that was busy meanwhile says little of its setting.
    if again or unsure:
        return max((*again, *unsure), key=lambda e: e.mean + e.bound).setting
    return next((s for s in bounds if _key(s) not in tried), None)


def _bounds(group: Group) -> list[dict[str, str]]:
    """Limits to compare with: one trial of each will do, when all else is known."""
    return [each.setting for each in group.plan.candidates if each.bound] if group.plan else []


def _open(group: Group) -> list[decide.Effect]:
    """What looks faster so far and is not proved, the fastest first."""
    bounds = _bounds(group)
    found = (e for e in decide.effects(group.records) if e.open and e.setting not in bounds)
    return sorted(found, key=lambda e: -e.mean)


def _missing(effect: decide.Effect) -> int:
    """Trials that prove it, at the least."""
    return decide.TIMES - min(effect.beyond, decide.TIMES - 1)


def _trials_left(group: Group) -> float:
    """How many more trials the time allows, as they were so far. One that goes on again has used up its time before:
    what looked faster then is tried first."""
    if not group.budget_s or not group.records:
        return inf
    return (group.budget_s - group.spent_s) / mean(r.wall_s for r in group.records)


def combination(group: Group) -> dict[str, str] | None:
    """All settings that are proved, the best value of each knob; None where there are not two of them."""
    bounds = _bounds(group)
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
    return max(1, 2 * (fresh + len(_open(group))) + (0 if group.records and group.records[-1].is_baseline else 1))


def to_proof(group: Group) -> int:
    """Trials that would prove one more gain, from here on: each of them gets as much of the rest of the time."""
    missing = min(map(_missing, _open(group)), default=decide.TIMES)
    last = group.records[-1] if group.records else None
    return 2 * missing + (0 if last is not None and last.is_baseline and last.measured else 1)


def _key(setting: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(setting.items()))


def reference(group: Group) -> Record | None:
    """The newest baseline that was measured."""
    return next((r for r in reversed(group.records) if r.is_baseline and r.measured), None)
