"""`try`: what is planned, what the trials prove, what is tried next, and what the table says, from records alone."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable
from dataclasses import replace
from math import exp
from pathlib import Path

import pytest

from tests.journals import SLOW_MAP, pipeline, start, state_of, steps, windows
from tfgpu_tui.core import events as ev
from tfgpu_tui.core import knobs
from tfgpu_tui.core.rows import Stage
from tfgpu_tui.core.state import RunState
from tfgpu_tui.trials import decide, edits, groups, measure, plan, records, schedule, table
from tfgpu_tui.trials.measure import Watched
from tfgpu_tui.trials.records import BASELINE, Candidate, Current, Group, LeftOut, Pace, Plan, Record, words

PARALLEL, XLA = {"input": "parallel"}, {"jit_compile": "on"}


def record(setting: dict[str, str], ms: float, **more: object) -> Record:
    pace = Pace(ms, ms * 0.01)
    values: dict[str, object] = {
        "later": pace, "whole": pace, "steps": 400, "wall_s": 12.0, "start_s": 4.0, "run": "train-1",
    }  # fmt: skip
    return Record(setting=setting, begun=0.0, **{**values, **more})  # type: ignore[arg-type]


def group(*found: Record, candidates: tuple[dict[str, str], ...] = (PARALLEL, XLA)) -> Group:
    made = Plan([Candidate(setting, "a test") for setting in candidates])
    return Group("try-train-1", ["train.py"], "/home/u", "python3", plan=made, records=list(found), may_write=True)


def conducted(step_ms: Callable[[dict[str, str]], float], candidates: tuple[dict[str, str], ...]) -> Group:
    """An experiment to its end, with the step times that a function gives."""
    now = group(candidates=candidates)
    for _ in range(60):
        setting = schedule.following(now)
        if setting is None:
            return replace(now, ended="done")
        now = replace(now, records=[*now.records, record(setting, step_ms(setting))])
    raise AssertionError("it does not end")


# -- what the trials prove


def test_a_gain_counts_when_a_second_trial_repeats_it() -> None:
    once = group(record({}, 20), record(PARALLEL, 10), record({}, 20))
    assert decide.best(once) is None
    assert table.rows(once)[1].verdict == "once"
    twice = replace(once, records=[*once.records, record(PARALLEL, 10.2), record({}, 20)])
    best = decide.best(twice)
    assert best is not None and best.setting == PARALLEL and best.times == pytest.approx(1.98, rel=0.01)


def test_what_a_setting_changes_besides_the_time_stands_before_the_command_to_keep() -> None:
    together = {"steps_per_execution": "32"}
    found = group(record({}, 20), record(together, 10), record({}, 20), record(together, 10), record({}, 20))
    assert table.keep(found)[:2] == [
        "Note:  callbacks run once for 32 steps", "Keep:  tfgpu-tui --set steps_per_execution=32 train.py",
    ]  # fmt: skip


def test_what_is_faster_each_time_and_not_proved_is_not_called_noise() -> None:
    uneven = [record({}, ms) for ms in (20, 22, 19.5, 21)]
    found = group(uneven[0], record(PARALLEL, 17), uneven[1], record(PARALLEL, 16), uneven[2], *uneven[3:])
    (effect,) = decide.effects(found.records)
    row = table.rows(found)[1]
    assert effect.promising and effect.mean > effect.bound and not effect.proved
    assert row.verdict == "so_far" and "no gain is claimed" in row.remarks[0]
    assert row.times is not None and row.times_noise is not None and row.times - row.times_noise > 1


def test_a_gain_that_is_not_repeated_is_none() -> None:
    found = group(record({}, 20), record(PARALLEL, 16), record({}, 20), record(PARALLEL, 20.1), record({}, 20))
    assert decide.best(found) is None
    assert table.rows(found)[1].verdict == "not_repeated"
    assert "not repeated: 1.25x and 1.00x" in table.text(found)


def test_a_machine_that_becomes_slower_is_not_taken_for_the_setting() -> None:
    """Each trial would look slower than the first baseline, and faster than the last."""
    times = iter(range(100))
    drifting = conducted(lambda setting: 10 * 1.05 ** next(times), (PARALLEL, XLA))
    for setting in (PARALLEL, XLA):
        effect = decide.effect(drifting.records, setting)
        assert effect is not None and abs(effect.mean) < 0.01
    assert decide.best(drifting) is None
    assert "the machine's speed changed meanwhile" in table.text(drifting)


def test_the_noise_is_learned_from_the_baselines() -> None:
    quiet = [record({}, ms) for ms in (10, 10.05, 9.98, 10.02)]
    loud = [record({}, ms) for ms in (10, 13, 9, 12)]
    assert decide.noise(quiet) < 0.02 < 0.1 < decide.noise(loud)


@pytest.mark.parametrize("sigma", [0.005, 0.03, 0.10, 0.25])
def test_settings_that_change_nothing_are_hardly_ever_said_to_help(sigma: float) -> None:
    """Whole experiments with four settings that do nothing, runs that differ by `sigma`, and a machine that others use
    now and then: in one of thirty at most one is said to help."""
    chance, wrong, experiments = random.Random(7), 0, 300
    settings = ({"a": "1"}, {"b": "1"}, {"c": "1"}, {"d": "1"})
    for _ in range(experiments):
        load = 0.0

        def step_ms(setting: dict[str, str]) -> float:
            nonlocal load
            if chance.random() < 0.2:
                load = abs(chance.gauss(0, 3 * sigma))
            return 10 * exp(chance.gauss(0, sigma) + load)

        wrong += decide.helped(conducted(step_ms, settings))
    assert wrong <= experiments / 30


@pytest.mark.parametrize(("gain", "sigma"), [(2.0, 0.10), (1.3, 0.03)])
def test_what_helps_is_found_beside_what_does_not(gain: float, sigma: float) -> None:
    chance, right = random.Random(11), 0
    for _ in range(100):

        def step_ms(setting: dict[str, str]) -> float:
            return 10 * exp(chance.gauss(0, sigma)) / (gain if setting == {"b": "1"} else 1.0)

        best = decide.best(conducted(step_ms, ({"a": "1"}, {"b": "1"}, {"c": "1"})))
        right += best is not None and best.setting == {"b": "1"}
    assert right >= 93


def test_what_helps_together_is_kept_together_only_where_it_gains_more() -> None:
    def both(setting: dict[str, str]) -> float:
        return 20 / (2.0 if "input" in setting else 1.0) / (1.5 if "jit_compile" in setting else 1.0)

    best = decide.best(conducted(both, (PARALLEL, XLA)))
    assert best is not None and best.setting == {**PARALLEL, **XLA}
    alone = decide.best(conducted(lambda s: 20 / (2.0 if s else 1.0), (PARALLEL, XLA)))
    assert alone is not None and len(alone.setting) == 1


def test_first_passes_are_compared_with_first_passes() -> None:
    """A pass that fills a cache is slower than those after it, in each run."""
    short = record(PARALLEL, 50, later=None, first=Pace(50, 0.5))
    base = record({}, 10, later=Pace(10, 0.1), first=Pace(50, 0.5))
    effect = decide.effect([base, short, base], PARALLEL)
    assert effect is not None and effect.mean == pytest.approx(0)


# -- what is tried next


def test_baselines_stand_between_the_trials() -> None:
    done = conducted(lambda setting: 10.0, (PARALLEL, XLA))
    assert [words(r.setting) for r in done.records] == [
        "baseline", "input=parallel", "baseline", "jit_compile=on", "baseline",
    ]  # fmt: skip


def test_a_clear_gain_is_repeated_before_anything_else_is_tried() -> None:
    """The time may be over soon."""
    found = group(record({}, 20), record(PARALLEL, 10), record({}, 20))
    assert schedule.following(found) == PARALLEL
    over = replace(found, ended="budget", plan=Plan([Candidate(PARALLEL, "a test")]))
    assert "Faster so far, but not proved: input=parallel.\nGo on: tfgpu-tui try --resume" in table.text(over)
    assert table.keep(over) == ["No gain is proved so far."]


def test_what_looks_faster_is_repeated_where_the_time_allows_no_more() -> None:
    """Here it is not beyond the noise yet: with time enough the other candidate comes first, and the limit last."""
    free = {"input": "synthetic"}
    noisy = [record({}, 20), record(PARALLEL, 12), record({}, 30)]
    made = Plan([Candidate(PARALLEL, "a test"), Candidate(XLA, "a test"), Candidate(free, "a limit", bound=True)])
    found = replace(group(*noisy), plan=made, spent_s=36.0, budget_s=600.0)
    effect = decide.effect(found.records, PARALLEL)
    assert effect is not None and effect.open and not effect.beyond
    assert schedule.following(found) == XLA
    assert schedule.following(replace(found, budget_s=90.0)) == PARALLEL
    known = [record({}, 20), record(PARALLEL, 21), record({}, 20), record(XLA, 40), record({}, 20)]
    assert schedule.following(replace(found, records=known)) == free


def test_three_trials_whose_mean_is_far_beyond_the_noise_prove_a_gain() -> None:
    """None of them alone is beyond it."""
    times = [record({}, 20), record(PARALLEL, 13.5), record({}, 24), record(PARALLEL, 13.5), record({}, 19)]
    twice = group(*times)
    assert decide.best(twice) is None
    thrice = decide.best(replace(twice, records=[*times, record(PARALLEL, 13.5), record({}, 23)]))
    assert thrice is not None and thrice.setting == PARALLEL and not thrice.beyond
    slower_once = [*times, record(PARALLEL, 24), record({}, 23)]
    assert decide.best(replace(twice, records=slower_once)) is None


@pytest.mark.parametrize(("fastest_baseline", "proved"), [(12.0, True), (10.5, False)])
def test_trials_that_are_all_faster_than_all_baselines_need_no_noise_to_be_known(
    fastest_baseline: float, proved: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three of ten are the fastest three once in 120 orders."""
    bases = [20.0, fastest_baseline, 32, 14, 27, 13, 24]
    wild = group(record({}, bases[0]))
    for base, ms in itertools.zip_longest(bases[1:], (10.0, 9.0, 11.0)):
        trial = [] if ms is None else [record(PARALLEL, ms)]
        wild = replace(wild, records=[*wild.records, *trial, record({}, base)])
    effect = decide.effect(wild.records, PARALLEL)
    assert effect is not None and effect.promising and effect.proved is proved
    monkeypatch.setattr(decide, "BY_CHANCE", 121)
    effect = decide.effect(wild.records, PARALLEL)
    assert effect is not None and not effect.proved


def test_a_baseline_on_a_busy_machine_hides_no_gain_far_from_it() -> None:
    near = [record({}, 20), record(PARALLEL, 14), record({}, 20.4), record(PARALLEL, 14), record({}, 20.2)]
    busy = [*near, record(XLA, 20), record({}, 45)]
    assert decide.noise(busy) < 0.06
    best = decide.best(group(*busy))
    assert best is not None and best.setting == PARALLEL


def crowded(setting: dict[str, str], ms: float, chance: random.Random, others: float = 60.0) -> Record:
    """A trial of 26 windows, of which other programs disturbed a third to two thirds, to up to five times as long."""
    share = chance.uniform(1 / 3, 2 / 3)
    slowed = [1 + 4 * chance.random() * (chance.random() < share) for _ in range(26)]
    pace = measure.pace([ms * exp(chance.gauss(0, 0.03)) * each for each in slowed])
    return record(setting, ms, first=None, later=pace, whole=pace, others_cpu=others)


def test_on_a_machine_that_others_use_the_quarter_that_they_disturb_least_is_compared() -> None:
    """Experiments of eleven trials: with all of their steps, a gain of 1.5 is hardly ever told from the noise."""
    chance, plain, calm = random.Random(3), 0, 0
    for _ in range(40):
        found: list[Record] = []
        for i in range(11):
            found.append(crowded(PARALLEL if i % 2 else {}, 20 / 1.5 if i % 2 else 20, chance))
        best = decide.best(group(*found))
        calm += best is not None and 1.35 < best.times < 1.65
        plain += decide.helped(group(*(replace(r, others_cpu=5.0) for r in found)))
    assert calm >= 36 > 10 > plain


def test_what_others_disturb_is_not_taken_for_a_gain() -> None:
    chance, wrong = random.Random(5), 0
    for _ in range(100):
        now = group(candidates=(PARALLEL, XLA, {"c": "1"}))
        while len(now.records) < 30 and (setting := schedule.following(now)) is not None:
            now = replace(now, records=[*now.records, crowded(setting, 20, chance)])
        wrong += decide.helped(now)
    assert wrong <= 3


def test_what_is_faster_in_its_calm_quarter_only_is_no_gain() -> None:
    """A setting that makes every second stretch faster, and the others slower by more."""
    base = record({}, 20, others_cpu=50.0, whole=Pace(20, 0.2, Pace(20, 0.2)), later=None)
    half = record(PARALLEL, 30, others_cpu=50.0, whole=Pace(30, 0.2, Pace(10, 0.2)), later=None)
    mixed = group(base, half, base, half, base)
    effect = decide.effect(mixed.records, PARALLEL)
    assert effect is not None and effect.times == pytest.approx(2.0)
    assert decide.best(mixed) is None
    quicker = replace(half, whole=Pace(15, 0.2, Pace(10, 0.2)))
    assert decide.helped(group(base, quicker, base, quicker, base))


def test_a_trial_that_failed_is_no_end_and_needs_no_baseline() -> None:
    found = group(record({}, 10), record(XLA, 0, whole=None, later=None, failure="The script failed: Oops"))
    assert schedule.following(found) == PARALLEL
    row = table.rows(found)[1]
    assert (row.verdict, row.remarks) == ("failed", ["The script failed: Oops"])


def test_what_was_killed_says_how_to_go_on() -> None:
    gone = replace(group(), plan=None, ended=None)
    assert "Go on: tfgpu-tui try --resume try-train-1" in table.text(gone)
    assert "Go on" not in table.text(gone, go_on=False), "it goes on by itself"


def test_a_baseline_that_can_not_be_measured_ends_it() -> None:
    failed = record({}, 0, whole=None, later=None, failure="it ended without a training step", ended="script",
                    last_line="usage: train.py DATA")  # fmt: skip
    found = group(failed)
    assert schedule.following(found) is None and schedule.untriable(found)
    assert table.keep(found) == [
        "Nothing could be tried: it ended without a training step; its output ends: usage: train.py DATA.",
        "What it printed and did: tfgpu-tui replay train-1",
    ]
    short = replace(group(replace(failed, last_line=None, ended="share")), budget_s=90.0)
    assert table.keep(short)[1] == "With more time: tfgpu-tui try --resume try-train-1 --budget 180s"


def test_synthetic_input_is_a_limit_and_never_what_to_keep() -> None:
    free = {"input": "synthetic"}
    made = replace(group(), plan=Plan([Candidate(free, "a limit", bound=True)]))
    while (setting := schedule.following(made)) is not None:
        made = replace(made, records=[*made.records, record(setting, 5 if setting else 20)])
    assert decide.best(made) is None
    assert table.rows(made)[1].verdict == "bound"


# -- what is planned


def in_force(**more: str | None) -> list[ev.Event]:
    values: dict[str, str | None] = {
        "jit_compile": "off", "precision": "float32", "steps_per_execution": "1", "threads": "default",
        "run_eagerly": "off", "determinism": "off",
    }  # fmt: skip
    return [ev.Knobs(t=1_000_002.0, src="agent", pid=4711, in_force={**values, **more})]


def planned(*parts: list[ev.Event]) -> Plan:
    return plan.plan(state_of(start(), *parts), {})


def settings(made: Plan) -> list[str]:
    return [words(each.setting) for each in made.candidates]


def reasons(made: Plan) -> dict[str, str]:
    return {each.name: each.reason for each in made.left_out}


def test_a_serial_map_that_is_waited_for_is_tried_in_parallel_first() -> None:
    made = planned(pipeline(), in_force(), windows(30, wait=0.6, step_ms=30))
    assert settings(made)[0] == "input=parallel" and settings(made)[-1] == "input=synthetic"
    assert "steps_per_execution" in reasons(made)


def test_without_a_wait_no_input_setting_is_tried() -> None:
    made = planned(pipeline(), in_force(), windows(30, wait=0.01, step_ms=30))
    assert not any("input" in name for name in settings(made))
    assert reasons(made)["input"] == "the step waits for input only 1 % of its time"


def test_batches_that_python_makes_are_said_to_be_out_of_reach() -> None:
    generator: Stage = {**SLOW_MAP, "stage": "Generator", "name": "Generator", "function": "batches"}
    made = planned(pipeline(generator), in_force(), windows(30, wait=0.6, step_ms=30))
    assert "input=parallel" not in settings(made) and "input=prefetch" not in settings(made)
    assert "Python makes the batches, in batches (data.py:41)" in reasons(made)["input=parallel"]
    assert any("No setting makes that faster" in remark for remark in made.remarks)
    assert planned(pipeline(), in_force(), windows(30, wait=0.6, step_ms=30)).remarks == [], "there one may"


def test_where_hardly_anything_is_computed_no_precision_is_tried() -> None:
    made = planned(pipeline(), in_force(precision="float64"), windows(30, wait=0.985, step_ms=30))
    assert "precision" in reasons(made) and not any("precision" in name for name in settings(made))


def test_short_steps_are_tried_together_and_float64_as_float32() -> None:
    made = planned(in_force(precision="float64"), windows(30, step_ms=1))
    assert {"steps_per_execution=32", "precision=float32", "jit_compile=on"} <= set(settings(made))


@pytest.mark.parametrize(("step_ms", "first"), [(1, "steps_per_execution=32"), (9, "precision=float32")])
def test_what_may_gain_most_in_steps_so_long_is_tried_first(step_ms: float, first: str) -> None:
    assert settings(planned(in_force(precision="float64"), windows(30, step_ms=step_ms)))[0] == first


def test_a_loop_of_the_scripts_own_has_no_settings_of_keras() -> None:
    made = planned(in_force(jit_compile=None, steps_per_execution=None, precision=None), windows(30))
    assert settings(made) == []
    assert {"jit_compile", "steps_per_execution", "precision"} <= set(reasons(made))


def test_every_knob_is_tried_or_left_out_with_a_reason() -> None:
    made = planned(pipeline(), in_force(), windows(30, wait=0.6, step_ms=30))
    named = {name.partition("=")[0] for name in (*settings(made), *reasons(made))}
    assert named == set(knobs.ALL)


def test_what_all_trials_have_is_not_tried() -> None:
    state = state_of(start(), pipeline(), in_force(), windows(30, wait=0.6, step_ms=30))
    made = plan.plan(state, {"input": "parallel"})
    assert not any("input" in name for name in settings(made))
    assert reasons(made)["input=parallel"] == "--set input=parallel holds for all trials"


# -- a journal that grows


def watched(*parts: list[ev.Event]) -> Watched:
    found = Watched()
    for part in parts:
        for event in part:
            found.take(event)
    return found


def passes(count: int, step_ms: tuple[float, ...]) -> list[ev.Event]:
    """`count` windows of each pass over the data, of 250 ms."""
    out: list[ev.Event] = [steps(2.0, 5, step_ms[0] * 20, warmup=True)]
    for number, ms in enumerate(step_ms, 1):
        begin = ev.Epoch(t=1_000_002.0, src="agent", pid=4711, state="begin", epoch=number, steps=count * 250, fit=1)
        out += [begin, *(steps(2 + number * 10 + i / 4, round(250 / ms), ms, epoch=number) for i in range(count))]
    return out


def test_the_first_pass_is_kept_apart() -> None:
    found = watched(start(), passes(20, (50, 10))).record({}, "train-1", 0.0, 12.0, "enough")
    assert found.first is not None and found.later is not None
    assert [found.first.ms, found.later.ms] == pytest.approx([50, 10])


def test_a_second_pass_is_waited_for_where_it_comes_in_time() -> None:
    found = watched(start(), passes(20, (10,)))  # 5 s of an epoch that takes 50
    assert not found.enough(None, left_s=60) and found.enough(None, left_s=20)


def test_a_clear_difference_needs_no_precision() -> None:
    noisy: list[ev.Event] = [steps(3 + i / 4, 10, 10 * (1 + 0.3 * (i % 3)), epoch=2) for i in range(24)]
    assert not watched(start(), noisy).enough(13, left_s=60)
    assert watched(start(), noisy).enough(60, left_s=60)


def test_a_setting_that_was_not_in_force_is_no_trial_of_it() -> None:
    told = in_force(steps_per_execution=None)
    told.append(
        ev.Knobs(t=1_000_003.0, src="agent", pid=4711, in_force={"input": "script"}, notes={"input": "no tf.data"})
    )
    found = watched(start(PARALLEL), told, windows(30)).record(PARALLEL, "train-1", 0.0, 9.0, "enough")
    assert found.not_applied == "input=parallel had no effect: no tf.data" and not found.measured


def test_a_script_that_fails_is_a_row_with_its_reason() -> None:
    failed: list[ev.Event] = [
        ev.ScriptError(
            t=1_000_004.0, src="agent", pid=4711, exception="ValueError", message="no", file="train.py", line=3
        ),
        ev.RunEnded(t=1_000_005.0, src="child", exit_code=1),
    ]
    found = watched(start(XLA), failed).record(XLA, "train-1", 0.0, 5.0, "script")
    assert found.failure == "The script failed: ValueError: no"


def test_too_few_steps_are_said_with_their_number_and_the_time_that_they_had() -> None:
    def why(ended: str, *parts: list[ev.Event], given_s: float = 45.0) -> str | None:
        found = watched(*parts)
        found.decided(given_s)
        return found.record({}, "train-1", 0.0, 50.0, ended).failure

    few: list[ev.Event] = [steps(2.0, 5, 100, warmup=True), steps(3.0, 10, 30)]
    assert why("script", few) == (
        "it ended after 15 steps (800 ms): too few to measure, which takes 20 steps and 1.5 s of them after warm-up"
    )
    assert why("script") == "it ended without a training step"
    assert why("share", few) == "only 15 steps in the 45 s that it had: too few to measure"
    assert why("share") == "no training step in the 45 s that it had: still starting"


# -- what is told


def test_losses_that_leave_the_range_of_the_baselines_are_flagged() -> None:
    def losses(*values: float) -> list[list[float]]:
        return [[100.0 * i, value] for i, value in enumerate(values, 1)]

    base = [record({}, 10, losses=losses(2.0, 1.5, 1.0)), record({}, 10, losses=losses(2.1, 1.5, 1.1))]
    half = {"precision": "mixed_float16"}
    near = group(base[0], record(half, 5, losses=losses(2.0, 1.5, 1.15)), base[1])
    assert "leaves the baseline's range" not in table.text(near)
    far = group(base[0], record(half, 5, losses=[[250.0, 2.2]]), base[1])
    assert "its loss leaves the baseline's range: 2.20 at step 250, against 1.25 to 1.30" in table.text(far)
    lost = group(base[0], record(half, 5, loss_lost=True), base[1])
    assert "its loss became nan or infinite" in table.text(lost)
    assert "changes the numbers that the model computes" in table.text(lost)


def test_what_to_keep_is_a_command_and_a_line_of_the_script() -> None:
    done = conducted(lambda setting: 10.0 if "input" in setting else 20.0, (PARALLEL,))
    done = replace(done, base={"memory_growth": "on"}, places={"input": "at train.py:12"})
    said = table.keep(done)
    assert said[0] == "Keep:  tfgpu-tui --set memory_growth=on --set input=parallel train.py"
    assert said[1] == "Edit:  dataset.map(…, num_parallel_calls=tf.data.AUTOTUNE)   (at train.py:12)"


def sample(others: float) -> ev.Event:
    """A machine of four CPUs: the training uses one of them."""
    return ev.HostSample(t=3.0, src="host", cpu_percent=25 + others, cores_percent=[0.0] * 4, tree_cpu_percent=100.0)


def test_a_machine_that_others_use_is_said() -> None:
    def trial(others: float) -> Record:
        before = [sample(70.0)]  # imports, beside whatever: not measured
        return watched(start(), before, windows(30), [sample(others)]).record({}, "train-1", 0.0, 9.0, "enough")

    busy = trial(40.0)
    assert busy.measured and busy.others_cpu == 40.0
    said = "Other programs used 5 % to 40 % of the machine's CPUs meanwhile"
    assert said in table.text(group(trial(5.0), busy))
    assert "disturbed least" in table.text(group(trial(5.0), busy))
    assert "Other programs" not in table.text(group(trial(5.0), trial(10.0)))
    short = replace(busy, whole=Pace(20, 0.2))
    assert "disturbed least" not in table.text(group(trial(5.0), busy, short))


def test_what_to_keep_is_read_last_below_what_was_left_out() -> None:
    done = conducted(lambda setting: 10.0 if "input" in setting else 20.0, (PARALLEL,))
    assert done.plan is not None
    out = [LeftOut("allocator", "no GPU"), LeftOut("profile", "it looks"), LeftOut("memory_growth", "no GPU")]
    said = table.text(replace(done, plan=replace(done.plan, left_out=out)))
    assert "Not tried:\n  allocator, memory_growth: no GPU\n  profile: it looks\n" in said
    assert said.splitlines()[-2].startswith("Keep:  ")


def test_places_are_lines_of_the_script() -> None:
    source = "files = paths()\ndata = files.shuffle(9) \\\n  .map(load_image) \\\n  .batch(3)\nmodel.compile('adam')\n"
    state: RunState = state_of(start(), pipeline(), in_force(), windows(30))
    found = edits.places(state, {"/home/u/train.py": source, "/home/u/broken.py": "def"})
    assert found == {
        "input": "at train.py:3", "jit_compile": "at train.py:5", "run_eagerly": "at train.py:5",
        "steps_per_execution": "at train.py:5",
    }  # fmt: skip


@pytest.mark.parametrize("name", knobs.ALL)
def test_each_knob_has_words_for_its_edit(name: str) -> None:
    for value in knobs.ALL[name].values[1:]:
        assert edits.code_of(name, value)


def test_a_group_reads_back_as_it_was_written() -> None:
    done = conducted(lambda setting: 10.0 if "input" in setting else 20.0, (PARALLEL, XLA))
    assert records.from_json(json.loads(json.dumps(records.to_json(done)))) == done
    assert json.dumps(table.as_json(done), allow_nan=False)
    nonsense: list[object] = [None, [], {}, {"plan": 3}, {"id": "a", "records": [{}]}]
    for broken in nonsense:
        with pytest.raises(ValueError):
            records.from_json(broken)


def test_an_empty_setting_is_the_baseline() -> None:
    assert words(BASELINE) == "baseline" and record(BASELINE, 10).is_baseline


# -- on disk


@pytest.fixture
def state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TFGPU_TUI_STATE_DIR", str(tmp_path))
    (tmp_path / "runs").mkdir(mode=0o700)
    return tmp_path


def test_a_group_reads_as_it_was_written_also_that_of_an_older_version(state_folder: Path) -> None:
    whole = replace(
        group(record({}, 10)), now=Current(XLA, "train-2", 5.0), conductor=groups.me(), until=9.0, after="train-0"
    )
    groups.save(whole)
    assert groups.find("try-train-1") == whole and groups.goes_on(whole)
    old = records.to_json(whole)
    for name in ("now", "conductor", "until", "after", "budget_s"):
        del old[name]
    read = records.from_json(json.loads(json.dumps(old)))
    assert read.records == whole.records and read.run == "train-1" and not groups.goes_on(read)


def test_on_a_busy_machine_a_trial_is_longer_than_others_bursts_and_no_longer_than_that() -> None:
    def enough(seconds: float, others: float, most_s: float = 20.0) -> bool:
        noisy: list[ev.Event] = [
            steps(3 + i / 10, 10, 10 * (1 + 0.3 * (i % 3)), epoch=2) for i in range(round(seconds / 0.13))
        ]
        found = watched(start(), noisy[:1], [sample(others)], noisy[1:])
        return found.enough(60 if seconds < 10 else 13, left_s=60, most_s=most_s)

    assert [enough(5, others) for others in (5.0, 40.0)] == [True, False], "a clear difference"
    assert enough(9, 40.0)
    assert enough(5, 40.0, most_s=3.0), "no more time"
    assert [enough(14, others) for others in (5.0, 40.0)] == [False, True], "an unclear one"


def test_what_had_too_little_time_is_tried_again() -> None:
    late = record(XLA, 0, whole=None, later=None, failure="no step in its part of the time", ended="share")
    broken = record(PARALLEL, 0, whole=None, later=None, failure="The script failed: Oops", ended="script")
    found = group(record({}, 10), broken, late)
    assert schedule.following(found) is None, "both were tried"
    assert table.too_short(found) == [XLA] and "Too little time for: jit_compile=on." in table.text(found)
    again = records.to_go_on(replace(found, ended="budget"))
    assert schedule.following(again) == XLA and again.ended is None
    assert [r.setting for r in again.records] == [{}, PARALLEL]


def test_the_time_is_shared_out_so_that_a_gain_can_be_repeated() -> None:
    """A B A B A; with a gain seen once, B A less of it."""
    assert schedule.to_proof(group()) == 5
    assert schedule.to_proof(group(record({}, 20))) == 4
    once = [record({}, 20), record(PARALLEL, 10)]
    assert schedule.to_proof(group(*once)) == 3
    assert schedule.to_proof(group(*once, record({}, 20))) == 2
    noisy: list[ev.Event] = [steps(3 + i / 4, 10, 10 * (1 + 0.3 * (i % 3)), epoch=2) for i in range(24)]
    assert not watched(start(), noisy).enough(13, left_s=60)
    assert watched(start(), noisy).enough(13, left_s=60, most_s=3.0)


def test_an_experiment_is_forgotten_with_its_last_run(state_folder: Path) -> None:
    groups.save(group(record({}, 10)))
    (state_folder / "runs" / "train-1").mkdir()
    (state_folder / "runs" / "train-1" / "meta.json").write_text("broken")
    assert groups.prune() == []
    (state_folder / "runs" / "train-1" / "meta.json").unlink()
    going = replace(group(record({}, 10, run="train-9")), id="try-train-2", conductor=groups.me())
    groups.save(going)
    assert groups.prune() == ["try-train-1"] and groups.ids() == ["try-train-2"]
