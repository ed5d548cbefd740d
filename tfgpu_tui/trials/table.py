"""The table of an experiment: rows, text and JSON (pure)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from math import exp
from statistics import median
from typing import Any

from tfgpu_tui.core import units
from tfgpu_tui.trials import decide, edits, records
from tfgpu_tui.trials.decide import Effect
from tfgpu_tui.trials.records import Group, Record, words

OUTSIDE = 0.10
"""A loss so far outside of the range of the baselines' is flagged."""
SLOW_START_S = 2.0
NUMBERS = {
    "precision": "changes the numbers that the model computes",
    "jit_compile": "XLA may round differently",
    "steps_per_execution": "callbacks run once for {} steps",
    "determinism": "two runs no longer give the same numbers",
}
"""What a knob changes besides the time, with its value."""


@dataclass(frozen=True)
class Row:
    """One setting, as numbers and in words."""

    setting: dict[str, str]
    verdict: str
    """baseline | faster | once (faster, but measured once) | so_far (faster each time, but not proved) | not_repeated |
    slower | nothing | unsure | failed | bound"""
    trials: int
    step_ms: float | None
    noise_ms: float | None
    times: float | None
    times_noise: float | None
    wait: float | None
    gpu_busy: float | None
    memory_bytes: float | None
    loss: tuple[int, float, float | None] | None
    """(step, loss, the baselines' at that step)."""
    remarks: list[str]

    @property
    def name(self) -> str:
        return words(self.setting)


def rows(group: Group) -> list[Row]:
    """The baseline, then each setting that was tried."""
    settings: list[dict[str, str]] = []
    for record in group.records:
        if record.setting not in settings:
            settings.append(record.setting)
    return [_row(group, setting) for setting in sorted(settings, key=bool)]


def _row(group: Group, setting: dict[str, str]) -> Row:
    every = [r for r in decide.compared(group.records) if r.setting == setting]
    good = [r for r in every if r.measured]
    effect = decide.effect(group.records, setting) if setting else None
    paces = [pace for r in good if (pace := r.shown) is not None]
    step_ms = _geometric([pace.ms for pace in paces])
    sigma = decide.noise(group.records)
    verdict = _verdict(group, setting, effect, bool(good))
    return Row(
        setting=setting,
        verdict=verdict,
        trials=len(every),
        step_ms=step_ms,
        noise_ms=None if step_ms is None else step_ms * 2 * sigma / len(paces) ** 0.5,
        times=None if effect is None else effect.times,
        times_noise=None if effect is None else effect.noise,
        wait=_middle([r.wait for r in good]),
        gpu_busy=_middle([r.gpu_busy for r in good]),
        memory_bytes=max((r.gpu_memory_bytes or r.memory_bytes or 0 for r in good), default=None),
        loss=_loss(group, good[-1]) if good else None,
        remarks=list(_remarks(group, setting, every, effect, verdict)),
    )


def _geometric(values: Sequence[float]) -> float | None:
    product = 1.0
    for value in values:
        product *= value ** (1 / len(values))
    return product if values else None


def _middle(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def is_bound(group: Group, setting: dict[str, str]) -> bool:
    """Whether it is a limit to compare with, and none to keep."""
    return group.plan is not None and any(c.bound and c.setting == setting for c in group.plan.candidates)


def _verdict(group: Group, setting: dict[str, str], effect: Effect | None, measured: bool) -> str:
    if not setting:
        return "baseline" if measured else "failed"
    if effect is None:
        return "unsure" if measured else "failed"
    if is_bound(group, setting):
        return "bound"
    if effect.proved:
        return "faster"
    if effect.slower:
        return "slower"
    if effect.nothing:
        return "nothing"
    if len(effect.each) < decide.TIMES:
        return "once" if effect.promising and effect.beyond else "unsure"
    if effect.promising and effect.mean > effect.bound:
        return "so_far"
    return "not_repeated" if effect.each[0] > decide.LEAST_GAIN and not effect.promising else "unsure"


def _remarks(
    group: Group, setting: dict[str, str], every: Sequence[Record], effect: Effect | None, verdict: str
) -> Iterator[str]:
    yield from _in_words(effect, verdict)
    yield from dict.fromkeys(why for r in every if (why := r.why_not) is not None)
    good = [r for r in every if r.measured]
    if setting and good:
        yield from _beside(group, good)
        yield from _cautions(group, {} if verdict == "bound" else setting, good)


def _cautions(group: Group, setting: dict[str, str], good: Sequence[Record]) -> Iterator[str]:
    """What changes besides the time."""
    yield from (NUMBERS[name].format(value) for name, value in setting.items() if name in NUMBERS)
    yield from _of_losses(group, good)


def _in_words(effect: Effect | None, verdict: str) -> Iterator[str]:
    if effect is None:
        if verdict == "unsure":
            yield "no baseline beside it to compare with"
        return
    low, high = exp(effect.mean - effect.bound), exp(effect.mean + effect.bound)
    each = " and ".join(times_words(exp(value)) for value in effect.each)
    if verdict == "faster":
        yield f"faster at each of {len(effect.each)} times: {each}"
    elif verdict == "once":
        yield "faster, but at one trial only: no gain is claimed"
    elif verdict == "so_far":
        yield f"faster each time ({each}), but not by more than the noise at two of them: no gain is claimed"
    elif verdict == "not_repeated":
        yield f"not repeated: {each}"
    elif verdict == "nothing":
        yield "no gain of 3 % or more"
    elif verdict == "unsure":
        yield f"not beyond the noise: between {times_words(low)} and {times_words(high)}"
    elif verdict == "bound":
        yield "a limit, no setting to keep: no input pipeline can make it faster than this"


def times_words(value: float) -> str:
    """`3.2x`, `1.08x`."""
    return f"{value:.1f}x" if value >= 1.95 else f"{value:.2f}x"


def _beside(group: Group, good: Sequence[Record]) -> Iterator[str]:
    """What is not counted: first steps and first pass."""
    bases = [r for r in group.records if r.is_baseline and r.measured]
    own, base = _middle([r.warm_s for r in good]), _middle([r.warm_s for r in bases])
    if own is not None and base is not None and own - base > SLOW_START_S:
        yield f"its first steps take {units.duration(own - base)} longer, once (not counted)"


def _of_losses(group: Group, good: Sequence[Record]) -> Iterator[str]:
    if any(r.meaningless for r in good):
        yield "its losses mean nothing"
        return
    if any(r.loss_lost for r in good) and not any(r.loss_lost for r in group.records if r.is_baseline):
        yield "its loss became nan or infinite: the baseline's did not"
        return
    off = [found for r in good if (found := _outside(group, r)) is not None]
    if off and len(off) == len(good):  # two runs of a script differ, too: at each of its trials
        step, loss, low, high = off[-1]
        span = units.number(low) if low == high else f"{units.number(low)} to {units.number(high)}"
        yield f"its loss leaves the baseline's range: {units.number(loss)} at step {step}, against {span}"


def _base_losses(group: Group, step: float) -> list[float]:
    """The loss of each baseline at a step, between the two nearest that were told."""
    found = []
    for record in group.records:
        if record.is_baseline and record.measured and (value := _at(record.losses, step)) is not None:
            found.append(value)
    return found


def _at(losses: Sequence[Sequence[float]], step: float) -> float | None:
    for (x0, y0), (x1, y1) in itertools.pairwise(losses):
        if x0 <= step <= x1:
            return y0 if x1 == x0 else y0 + (y1 - y0) * (step - x0) / (x1 - x0)
    return next((y for x, y in losses if x == step), None)


def _loss(group: Group, record: Record) -> tuple[int, float, float | None] | None:
    """The last loss at a step for which the baselines have one, too."""
    if not record.losses or record.meaningless:
        return None
    for step, loss in reversed(record.losses):
        base = [loss] if record.is_baseline else _base_losses(group, step)
        if base:
            return int(step), loss, None if record.is_baseline else median(base)
    return int(record.losses[-1][0]), record.losses[-1][1], None


def _outside(group: Group, record: Record) -> tuple[int, float, float, float] | None:
    """(step, loss, lowest, highest of the baselines) where a loss is far outside of theirs at the last step that can be
    compared: the range of the baselines, and its width again at both sides, and a tenth of their greatest loss, for
    small losses late in a training differ by factors from run to run."""
    greatest = max((abs(y) for r in group.records if r.is_baseline for _, y in r.losses), default=0.0)
    for step, loss in reversed(record.losses):
        base = _base_losses(group, step)
        if base:
            low, high = min(base), max(base)
            room = (high - low) + OUTSIDE * greatest
            return None if low - room <= loss <= high + room else (int(step), loss, low, high)
    return None


# -- text

HEAD = ("setting", "step time", "times faster", "wait", "GPU", "memory", "loss")


def cells(row: Row) -> tuple[str, ...]:
    """A row as text, a cell for each of `HEAD`."""
    name = f"{row.name} ({row.trials})" if row.trials > 1 else row.name
    if row.verdict == "failed":
        return (name, units.UNKNOWN, "failed", *[units.UNKNOWN] * 4)
    step = (
        f"{units.duration((row.step_ms or 0) / 1e3)} ± {units.percent(100 * (row.noise_ms or 0) / (row.step_ms or 1))}"
    )
    times = units.UNKNOWN if row.times is None else f"{times_words(row.times)} ± {row.times_noise or 0:.2f}"
    loss = units.UNKNOWN if row.loss is None else units.number(row.loss[1])
    memory = units.size(row.memory_bytes or None)
    return name, step, times, units.share(row.wait), units.percent(row.gpu_busy), memory, loss


def text(group: Group, go_on: bool = True) -> str:
    """The table, what was left out, and what to keep: that is read last. See `circumstances`."""
    found = rows(group)
    lines = [f"{group.id}: {' '.join(group.argv)}", ""]
    table = [HEAD, *map(cells, found)]
    widths = [max(len(line[i]) for line in table) for i in range(len(HEAD))]
    for i, line in enumerate(table):
        first, *rest = line
        lines.append(
            "  ".join([f"{first:<{widths[0]}}", *(f"{c:>{w}}" for c, w in zip(rest, widths[1:], strict=True))]).rstrip()
        )
        if i:
            lines += [f"    {remark}" for remark in found[i - 1].remarks]
    if out := list(left_out(group)):
        lines += ["", "Not tried:", *(f"  {line}" for line in out)]
    return "\n".join([*lines, "", *circumstances(group, go_on), *keep(group)])


def left_out(group: Group) -> Iterator[str]:
    """What is not tried, a line for each reason."""
    names: dict[str, list[str]] = {}
    for each in group.plan.left_out if group.plan is not None else []:
        names.setdefault(each.reason, []).append(each.name)
    yield from (f"{', '.join(named)}: {reason}" for reason, named in names.items())


def untried(group: Group) -> list[dict[str, str]]:
    """Settings of the plan that no trial had."""
    tried = [r.setting for r in group.records]
    return [c.setting for c in group.plan.candidates if c.setting not in tried] if group.plan else []


def undecided(group: Group) -> list[dict[str, str]]:
    """Settings that looked faster, and for which the time was over before that was proved."""
    if group.ended not in ("budget", "stopped", "unkept", None):
        return []
    return [e.setting for e in decide.effects(group.records) if e.open and not is_bound(group, e.setting)]


def too_short(group: Group) -> list[dict[str, str]]:
    """Settings that made too few steps in their part of the time, at each trial."""
    found = {words(r.setting): r.setting for r in group.records if r.ended == "share" and r.failure is not None}
    return [setting for name, setting in found.items()
            if setting and not any(r.measured for r in group.records if words(r.setting) == name)]  # fmt: skip


def circumstances(group: Group, go_on: bool = True) -> Iterator[str]:
    """What to know besides the rows: the machine, what no setting changes, and (where it can `go_on`) what was not
    reached."""
    found = decide.drift(group.records)
    if found is not None:
        low, high = (units.duration(ms / 1e3) for ms in found)
        yield f"The baseline took {low} to {high} a step: the machine's speed changed meanwhile, or its runs differ."
    others = [r.others_cpu for r in group.records if r.measured and r.others_cpu is not None]
    if others and max(others) >= decide.CROWDED:
        span = " to ".join(dict.fromkeys((units.percent(min(others)), units.percent(max(others)))))
        yield f"Other programs used {span} of the machine's CPUs meanwhile: a quieter one decides sooner."
        if decide.crowded(group.records):
            yield "So the step times here are of the quarter of each trial that they disturbed least."
    if group.plan is not None:
        yield from group.plan.remarks
    if group.unkept is not None:
        yield f"No trial follows: {group.unkept}."
    if go_on:
        yield from _open(group)


def _open(group: Group) -> Iterator[str]:
    """What was not reached, and how to go on."""
    if group.ended == "refused":
        more = f" and {len(group.wrote) - 1} more" if len(group.wrote) > 1 else ""
        yield f"Each trial may write files of the script's folder again: {', '.join(group.wrote[:1])}{more}."
        yield f"Go on all the same: tfgpu-tui try --yes --resume {group.id}"
        return
    told = {"Not reached": untried(group), "Too little time for": too_short(group),
            "Faster so far, but not proved": undecided(group)}  # fmt: skip
    yield from (f"{what}: {', '.join(map(words, settings))}." for what, settings in told.items() if settings)
    if any(told.values()) or (group.plan is None and group.ended != "untriable"):
        yield f"Go on: tfgpu-tui try --resume {group.id}"


def keep(group: Group) -> list[str]:
    """The last lines: what to keep, by a command and by an edit."""
    best = decide.best(group)
    if best is None:
        bases = [r for r in group.records if r.is_baseline]
        if bases and not any(r.measured for r in bases):
            return [f"Nothing could be tried: {bases[-1].why_not}.", _without_baseline(group, bases[-1])]
        if not any(not r.is_baseline for r in group.records) and not untried(group) and group.plan is not None:
            return ["Nothing to try: no setting could matter here."]
        if undecided(group):
            return ["No gain is proved so far."]
        if not any(not r.is_baseline for r in group.records):
            return ["No setting was tried so far."]
        return ["Nothing that was tried is faster beyond the noise."]
    lines = [f"Keep:  {edits.command(group, best.setting)}"]
    lines += [f"{'Edit: ' if i == 0 else '      '} {line}" for i, line in enumerate(edits.edit(group, best.setting))]
    good = [r for r in group.records if r.setting == best.setting and r.measured]
    return [f"Note:  {caution}" for caution in _cautions(group, best.setting, good)] + lines


def _without_baseline(group: Group, failed: Record) -> str:
    """What to do where the script as it is could not be measured."""
    if failed.ended == "share":
        return f"With more time: tfgpu-tui try --resume {group.id} --budget {round(2 * group.budget_s)}s"
    return f"What it printed and did: tfgpu-tui replay {failed.run}"


def line(number: int, record: Record) -> str:
    """A trial that ended, in one line."""
    pace = record.shown
    if record.why_not is not None or pace is None:
        return f"{number:>3}  {words(record.setting):<28} {record.why_not}"
    waits = "" if record.wait is None else f"   waits {units.share(record.wait)}"
    step = f"{units.duration(pace.ms / 1e3):>8} a step"
    return f"{number:>3}  {words(record.setting):<28} {step}{waits}   {record.steps} steps"


def as_json(group: Group) -> dict[str, Any]:
    """The experiment for scripts: its records, and what follows from them."""
    best = decide.best(group)
    return {
        **records.to_json(group),
        "rows": [{**asdict(row), "name": row.name} for row in rows(group)],
        "noise": round(decide.noise(group.records), 5),
        "drift_ms": decide.drift(group.records),
        "best": None
        if best is None
        else {
            "setting": best.setting,
            "times_faster": round(best.times, 4),
            "noise": round(best.noise, 4),
            "command": edits.command(group, best.setting),
            "edit": edits.edit(group, best.setting),
        },
    }
