"""Host memory by the step: what is a leak, what is none, and what is said of its cause."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest

from tests.journals import T0, pipeline, start, state_of, steps, windows
from tfgpu_tui.core import events as ev
from tfgpu_tui.core.rows import Stage
from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose import diagnose
from tfgpu_tui.diagnose.finding import Finding
from tfgpu_tui.diagnose.host_growth import host_growth
from tfgpu_tui.report import report_json

KIB, MIB = 1024, 1 << 20
Curve = Callable[[float], float]


def points(curve: Curve, steps: int = 600, samples: int = 60, noise: float = 150_000) -> list[list[int]]:
    """(steps, bytes) of a process of 700 MiB; `curve(step)` is what it has grown by."""
    dice = random.Random(steps * samples)
    every = steps / samples
    return [
        [round(i * every), round(700 * MIB + curve(i * every) + dice.uniform(-noise, noise))]
        for i in range(1, samples + 1)
    ]


def run(curve: Curve, *more: ev.Event, **how: Any) -> list[Finding]:
    memory = ev.ProcessMemory(t=T0 + 5, src="agent", pid=4711, points=points(curve, **how))
    return diagnose(state_of(start(), windows(40), list(more), [memory]))


def growths(found: list[Finding]) -> list[Finding]:
    return [f for f in found if f.id == "memory.host_growth"]


@pytest.mark.parametrize("kib", [256, 64, 2048])
@pytest.mark.parametrize(("steps", "samples"), [(600, 30), (600, 240), (20_000, 200)])
def test_a_leak_is_measured_by_the_step(kib: int, steps: int, samples: int) -> None:
    (found,) = growths(run(lambda step: kib * KIB * step, steps=steps, samples=samples))
    assert found.evidence["kib_per_step"] == pytest.approx(kib, rel=0.05)
    assert found.severity == "warning"


@pytest.mark.parametrize(
    "curve",
    [
        lambda step: 0.0,
        lambda step: 2.0 * step,
        lambda step: min(step, 150) * 2 * MIB,
        lambda step: (step % 60) * 256 * KIB,
        lambda step: (step % 200) * 256 * KIB,
        lambda step: 120 * MIB * (1 - math.exp(-step / 80)),
        lambda step: 25 * MIB * math.log1p(step / 10),
        lambda step: 300 * MIB * (step > 420),
        lambda step: -100 * KIB * step,
    ],
    ids=["flat", "creeping", "warm-up", "cyclic", "slow cycles", "levels off", "as a logarithm", "one jump", "shrinks"],
)
def test_other_shapes_are_no_leak(curve: Curve) -> None:
    assert growths(run(curve)) == []
    assert growths(run(curve, steps=900, samples=90)) == []


UP_AND_DOWN = {
    1: 610, 17: 623, 33: 629, 49: 619, 65: 628, 81: 626, 97: 638, 113: 638, 129: 621, 145: 642, 161: 630, 177: 616,
    193: 635, 209: 637, 226: 655, 241: 655, 253: 639, 267: 635, 282: 653, 295: 639, 304: 641, 314: 649, 324: 637,
    332: 629, 340: 640, 349: 643, 360: 638, 369: 647, 377: 633, 385: 640, 393: 631, 400: 636, 406: 639, 412: 637,
    416: 635, 425: 634, 429: 639, 433: 634, 437: 638, 441: 630, 445: 637, 449: 646, 453: 629, 457: 629, 461: 638,
    465: 638, 469: 646, 474: 636, 478: 642, 482: 650, 486: 638, 490: 633, 494: 634, 498: 636, 502: 633, 506: 641,
    510: 656, 516: 659, 523: 659, 529: 659, 534: 659, 538: 659, 543: 663, 548: 663, 553: 663, 557: 663, 561: 663,
    565: 663, 569: 663, 574: 663, 578: 663, 582: 663, 586: 663, 591: 663, 595: 663
}  # fmt: skip
"""Steps -> resident MiB of a healthy fit with large batches, on a busy machine: it ended after 600 steps."""


def test_memory_that_goes_up_and_down_as_much_is_no_leak_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = [(float(step), float(mib * MIB)) for step, mib in UP_AND_DOWN.items()]
    growth = host_growth(seen)
    assert growth is not None and not growth.growing
    monkeypatch.setattr("tfgpu_tui.diagnose.host_growth.SCATTER", 0.0)
    growth = host_growth(seen)
    assert growth is not None and growth.growing, "what else speaks for a leak is there"


def test_nothing_is_judged_early() -> None:
    few = [(float(x), float(y)) for x, y in points(lambda step: MIB * step, steps=300)]
    assert host_growth(few) is None
    assert host_growth([(float(x), 1e9 + x * MIB) for x in range(0, 4000, 200)]) is None


def epoch(number: int, steps: int) -> ev.Epoch:
    return ev.Epoch(t=T0 + 4, state="end", epoch=number, steps=steps)


CACHE: Stage = {"stage": "MemoryCacheImpl", "name": "Cache"}


def test_a_cache_that_fills_in_the_first_pass_is_no_leak() -> None:
    def filling(step: float) -> float:
        return min(step, 600) * 256 * KIB

    assert growths(run(filling, *pipeline(CACHE))) == []
    assert growths(run(filling, *pipeline(CACHE), epoch(1, 600), steps=1100, samples=110)) == []
    assert growths(run(lambda step: step * 256 * KIB, *pipeline(CACHE), epoch(1, 600), steps=2000, samples=200))


def cause(**fields: Any) -> ev.GrowthCause:
    return ev.GrowthCause(t=T0 + 5, src="agent", pid=4711, **{"steps": 100, "resident_bytes": 26 * MIB, **fields})


def held(**fields: Any) -> dict[str, Any]:
    found = {"kind": "list", "name": "losses in train.py", "element": "EagerTensor", "element_bytes": 256 * KIB}
    return {**found, "per_step": 1.0, "bytes_per_step": 256 * KIB, **fields}


def leaking(*more: ev.Event) -> Finding:
    (found,) = growths(run(lambda step: 256 * KIB * step, *more))
    return found


def test_the_container_that_grows_is_named_with_its_share() -> None:
    found = leaking(cause(containers=[held()]))
    assert found.lines[0] == "the list losses in train.py grows by 1 EagerTensor of 256 KiB a step: 100 % of the growth"
    assert "float(loss)" in found.next and "losses in train.py" in found.next
    assert found.incomplete is None
    arrays = leaking(cause(containers=[held(name=None, element="ndarray")]))
    assert arrays.lines[0].startswith("a list grows by")
    assert "tensors" not in arrays.next


def test_retracing_is_the_cause_where_it_was_counted() -> None:
    found = leaking(cause(traces=200))
    assert found.evidence["cause"] == "retracing"
    assert "input_signature" in found.next


def test_a_cause_that_was_not_found_is_not_guessed() -> None:
    for more in ((), (cause(containers=[held(bytes_per_step=200)]),), (cause(traces=1),)):
        found = leaking(*more)
        assert found.lines[0].startswith("cause not known")
        assert found.incomplete is not None


def sampled(script_mib: float, children_mib: float) -> list[ev.Event]:
    """A minute of steps in which the script, and its children together, grow by so much a sample."""
    samples: list[ev.Event] = []
    for i in range(60):
        samples.append(windows(1)[1])
        script = round((700 + i * script_mib) * MIB)
        tree = script + round((100 + i * children_mib) * MIB)
        samples.append(ev.HostSample(t=T0 + 3 + i / 2, tree_rss_bytes=tree, script_rss_bytes=script, processes=5))
    return samples


def test_children_that_grow_are_told_apart() -> None:
    (found,) = growths(run(lambda step: 0.0, *sampled(0.0, 5.0)))
    assert "child processes" in found.title


def test_children_are_not_blamed_for_what_the_script_itself_takes() -> None:
    """What it told of its own steps shows no growth (it came between them, say); its children did not grow either."""
    assert growths(run(lambda step: 0.0, *sampled(5.0, 0.0))) == []


def test_many_short_trainings_are_no_leak_of_each_step() -> None:
    """Each is over before its process tells its memory often enough: the host's samples know the sum of them."""
    journal = [*start(), *windows(2)]
    for fit in range(1, 41):
        journal.append(steps(3 + fit, 60, fit=fit, traces=1))
        tree = (700 + fit * 6) * MIB
        journal.append(ev.HostSample(t=T0 + 3 + fit, tree_rss_bytes=tree, script_rss_bytes=tree, processes=1))
    (found,) = growths(diagnose(state_of(journal)))
    assert "with each training" in found.title and found.evidence["cause"] == "new_models"
    assert found.evidence["mib_per_training"] == pytest.approx(6, rel=0.15)
    assert found.incomplete is not None and "child" not in found.title


# -- growth with each training


def trained(
    count: int,
    each_mib: float,
    a_step: float = 0.0,
    *,
    steps_each: int = 200,
    samples: int = 12,
    traces: int = 1,
    loop: str = "fit",
    free_mib: int = 8192,
) -> RunState:
    """So many fits, which take memory in their first third (`each_mib`) and by the step (`a_step` bytes)."""
    dice = random.Random(count * samples)
    journal: list[ev.Event] = [
        *start(),
        ev.HostSample(t=T0 + 2, memory_total_bytes=free_mib * MIB + (1 << 30), memory_used_bytes=1 << 30),
    ]
    for fit in range(1, count + 1):
        done = (fit - 1) * steps_each
        journal.append(steps(2 + fit, steps_each, 5, fit=fit, loop=loop, traces=traces, first_step=done + 1))
        memory = []
        for sample in range(1, samples + 1):
            step = done + sample * steps_each // samples
            settled = min(1.0, sample / samples / 0.3)
            grown = (fit - 1 + settled) * each_mib * MIB + step * a_step
            memory.append([step, round(700 * MIB + grown + dice.uniform(-60_000, 60_000)), fit])
        journal.append(ev.ProcessMemory(t=T0 + 2 + fit, src="agent", pid=4711, points=memory))
    return state_of(journal)


@pytest.mark.parametrize(("count", "samples"), [(5, 12), (8, 4), (40, 3), (300, 12)])
def test_memory_that_each_new_model_keeps_is_named_by_the_training(count: int, samples: int) -> None:
    state = trained(count, 6.0, samples=samples)
    (found,) = growths(diagnose(state))
    assert found.title.endswith(f"with each training ({count} so far)")
    assert found.evidence["mib_per_training"] == pytest.approx(6.0, rel=0.05)
    assert found.evidence["cause"] == "new_models" and found.incomplete is None
    assert "compile the model once" in found.next and "process of its own" in found.next
    assert report_json.build(state)["memory"]["host_growth_mib_per_training"] == pytest.approx(6.0, rel=0.05)


def stair(*levels_mib: int) -> RunState:
    """A training on each of these levels, which keeps what it takes at once."""
    journal: list[ev.Event] = [*start()]
    for fit, level in enumerate(levels_mib, 1):
        journal.append(steps(2 + fit, 150, 5, fit=fit, traces=1, first_step=(fit - 1) * 150 + 1))
        memory = [[(fit - 1) * 150 + i * 15, (600 + level) * MIB + i % 3 * 50_000, fit] for i in range(1, 11)]
        journal.append(ev.ProcessMemory(t=T0 + 2 + fit, src="agent", pid=4711, points=memory))
    return state_of(journal)


def test_memory_that_is_given_back_now_and_then_is_told_by_the_trainings() -> None:
    """Windows of steps end within the trainings: it scatters there as much as it grows."""
    state = stair(0, 45, 30, 75, 85, 130, 175, 160, 205)
    by_steps = host_growth(state.process_memory[4711].points)
    assert by_steps is not None and not by_steps.growing
    (found,) = growths(diagnose(state))
    assert "with each training (9 so far)" in found.title
    assert found.evidence["mib_per_training"] == pytest.approx(205 / 8, rel=0.2)
    assert report_json.build(state)["memory"]["growing"] is True


@pytest.mark.parametrize(
    "levels",
    [
        (0, 60, 90, 105, 112, 116, 118, 119, 120, 120),  # levels off
        (0, 40, 80, 120, 160, 10, 50, 90, 130, 170),  # given back
        (0, 1, 2, 3, 4, 5, 6, 7, 8, 9),  # little
        (0, 40, 80, 60),  # too few to tell
    ],
)
def test_other_stairs_are_no_leak(levels: tuple[int, ...]) -> None:
    assert growths(diagnose(stair(*levels))) == []


def test_the_same_model_is_not_blamed() -> None:
    (found,) = growths(diagnose(trained(8, 6.0, traces=0)))
    assert "with each training" in found.title
    assert found.lines[0].startswith("cause not known") and found.incomplete is not None


@pytest.mark.parametrize("each_mib", [0.0, 6.0])
def test_a_leak_in_each_step_is_named_by_the_step_however_many_trainings_there_are(each_mib: float) -> None:
    state = trained(8, each_mib, 64 * KIB)
    (found,) = growths(diagnose(state))
    assert found.title.endswith("a step") and found.severity == "warning"
    data = report_json.build(state)
    assert data["memory"]["host_growth_mib_per_training"] is None
    assert "memory.host_growth_mib_per_training" in data["unknown"]


def test_trainings_too_short_to_look_into_say_nothing_of_trainings() -> None:
    (found,) = growths(diagnose(trained(400, 0.2, steps_each=2, samples=1)))
    assert found.title.endswith("a step")


def test_trainings_that_keep_nothing_are_fine() -> None:
    assert growths(diagnose(trained(8, 0.0))) == []
    assert report_json.build(trained(8, 0.0))["memory"]["host_growth_mib_per_training"] is None


@pytest.mark.parametrize(
    ("count", "each_mib", "free_mib", "severity"),
    [(5, 6.0, 22_000, "info"), (100, 6.0, 22_000, "warning"), (6, 80.0, 22_000, "warning"), (8, 6.0, 200, "warning")],
)
def test_a_few_small_models_are_no_warning_on_a_machine_with_memory_to_spare(
    count: int, each_mib: float, free_mib: int, severity: str
) -> None:
    (found,) = growths(diagnose(trained(count, each_mib, free_mib=free_mib)))
    assert found.severity == severity
