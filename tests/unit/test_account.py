"""The account of a whole run: its parts sum to the wall time, and each is what the agent measured."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.journals import T0, start, state_of, steps, windows
from tfgpu_tui.core import checkpoint
from tfgpu_tui.core import events as ev
from tfgpu_tui.core.account import WholeRun, whole_run
from tfgpu_tui.core.rows import StoodAt
from tfgpu_tui.core.state import RunState, fold
from tfgpu_tui.core.validate import read
from tfgpu_tui.diagnose import Finding, diagnose
from tfgpu_tui.report import account as report_account
from tfgpu_tui.report import compare

RECORDINGS = sorted((Path(__file__).parents[2] / "demo" / "recordings").glob("*.jsonl"))
PARTS = ["importing", "imported", "building", "preparing", "fit", "fit/tracing", "training", "validation", "callbacks",
         "evaluating", "predicting", "ending", "idle", "exiting"]  # fmt: skip
PHASES = {
    "fit": "training",
    "validation": "evaluating",
    "callbacks": "predicting",
    "fit/tracing": "tracing",
    "ending": "idle",
}
SECONDS = st.floats(0.0, 1e4)


def phase(t: float, part: str, **spent: float) -> ev.Phase:
    return ev.Phase(t=T0 + t, src="agent", pid=4711, phase=PHASES.get(part, part), part=part, spent_s=spent)


def account(state: RunState) -> WholeRun:
    """Of a state that has one; its parts sum to the wall time."""
    found = whole_run(state)
    assert found is not None
    assert sum(part.seconds for part in found.parts) == pytest.approx(found.wall_s, rel=1e-9)
    assert all(part.seconds >= 0.0 for part in found.parts)
    return found


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_it_sums_over_every_recording_and_all_but_little_has_a_name(path: Path) -> None:
    with path.open("rb") as lines:
        found = account(fold([event for line in lines if (event := read(line)) is not None]))
    assert found.seconds("unknown") <= 0.01 * found.wall_s
    assert found.seconds("import") > 1.0  # each of them imports TensorFlow


SETUP = [
    *start()[:-1],
    phase(1.0, "importing"),
    phase(3.0, "imported", importing=2.0),
    phase(4.0, "preparing", importing=2.0, imported=1.0),
    phase(45.0, "fit", importing=2.0, imported=1.0, preparing=41.0),
]


def test_what_fit_does_before_its_first_step_is_no_step() -> None:
    state = state_of(SETUP, [steps(46.0, 20, 50.0), ev.RunEnded(t=T0 + 46, exit_code=0, wall_s=46.0)])
    found = account(state)
    assert found.seconds("start") == pytest.approx(1.0)
    assert found.seconds("import") == pytest.approx(2.0)
    assert found.seconds("script") == pytest.approx(1.0)
    assert found.seconds("fit_start") == pytest.approx(41.0)
    assert found.seconds("steps") == pytest.approx(1.0)


def test_a_first_step_that_never_ended_lies_between_no_epochs() -> None:
    found = account(state_of(SETUP, [ev.RunEnded(t=T0 + 105, exit_code=75, wall_s=105.0)]))
    assert found.seconds("warmup") == pytest.approx(60.0)
    assert found.seconds("epoch_edges") == 0.0


def test_phases_that_came_and_went_between_two_messages_are_in_the_sums() -> None:
    journal = [*start()[:-1], phase(0.0, "importing"), phase(10.0, "idle", importing=2.0, fit=5.0, validation=3.0)]
    found = account(state_of(journal, [steps(10.0, 20, 100.0)]))
    assert found.seconds("validation") == pytest.approx(3.0)
    assert found.seconds("epoch_edges") == pytest.approx(3.0)  # five seconds in the fit, two of them steps


def test_the_time_between_trainings_is_split_as_the_looks_saw_it() -> None:
    journal = [*start()[:-1], phase(0.0, "importing"), phase(2.0, "imported", importing=2.0)]
    seen = ev.Stood(t=T0 + 10, pid=4711, looks=80, doing={"imported/import": 2.0, "imported/keras": 4.0,
                                                           "imported/python": 1.8})  # fmt: skip
    found = account(state_of(journal, [seen, phase(10.0, "exiting", importing=2.0, imported=8.0)]))
    assert found.seconds("building") == pytest.approx(4.0)
    assert found.seconds("import") == pytest.approx(4.0)
    assert found.seconds("script") == pytest.approx(2.0)  # with what no look saw


def test_an_epochs_first_batch_is_no_step_like_the_others() -> None:
    edges: list[ev.Event] = [
        ev.Epoch(t=T0 + 45, pid=4711, state="begin", epoch=2),
        steps(50.0, 1, 4000.0, wait=0.9),
        steps(51.0, 20, 50.0, wait=0.1),
        ev.Epoch(t=T0 + 51, pid=4711, state="end", epoch=2, first_wait_s=3.6),
    ]
    found = account(state_of(SETUP, edges))
    assert found.seconds("first_batch") == pytest.approx(3.6)
    assert found.seconds("steps") == pytest.approx(1.4)
    made_of = next(part.of for part in found.parts if part.key == "steps")
    assert sum(made_of.values()) == pytest.approx(1.4)
    assert made_of["input_wait"] == pytest.approx(0.1)


def test_the_first_step_of_an_own_loop_lies_in_the_phase_before() -> None:
    journal = [*start()[:-1], phase(0.0, "importing"), phase(2.0, "imported", importing=2.0),
               phase(8.0, "training", importing=2.0, imported=4.0, **{"imported/tracing": 2.0})]  # fmt: skip
    found = account(state_of(journal, [steps(8.0, 1, 3000.0, warmup=True, loop="custom"),
                                       steps(9.0, 10, 100.0, loop="custom")]))  # fmt: skip
    assert found.seconds("tracing") == pytest.approx(2.0)
    assert found.seconds("warmup") == pytest.approx(1.0)
    assert found.seconds("script") == pytest.approx(3.0)
    assert found.seconds("steps") == pytest.approx(1.0)


def test_what_no_clock_of_the_process_saw_is_unknown() -> None:
    suspended = phase(100.0, "idle", importing=2.0, imported=1.0, preparing=41.0, fit=1.0)
    assert account(state_of(SETUP, [suspended])).seconds("unknown") == pytest.approx(54.0)


def test_a_process_that_told_nothing_is_before_its_import() -> None:
    found = account(state_of(start()[:-1]))
    assert [part.key for part in found.parts] == ["start"]
    assert whole_run(RunState()) is None


def test_it_goes_through_a_checkpoint() -> None:
    state = state_of(SETUP, [ev.Stood(t=T0 + 45, pid=4711, looks=1, doing={"preparing/keras": 40.0}),
                             ev.FirstRun(t=T0 + 46, pid=4711, function="step", count=1, wall_s=3.0)])  # fmt: skip
    again = checkpoint.load(checkpoint.dump(state))
    assert report_account.account(again) == report_account.account(state)


MOMENTS = st.one_of(
    st.builds(
        lambda part, spent: phase(0.0, part, **spent),
        st.sampled_from(PARTS),
        st.dictionaries(st.sampled_from(PARTS), st.floats(-1e4, 1e6), max_size=5),
    ),
    st.builds(
        lambda name: ev.Phase(t=0.0, pid=4711, phase=name),
        st.sampled_from(["training", "tracing", "evaluating", "idle"]),
    ),
    st.builds(
        lambda ms, wait, more: steps(0.0, 7, ms, wait, **more),
        st.floats(0.0, 1e4),
        st.floats(0.0, 0.9),
        st.fixed_dictionaries(
            {
                "warmup": st.booleans(),
                "loop": st.sampled_from(["fit", "custom"]),
                "phase": st.sampled_from(["train", "test"]),
            }
        ),
    ),
    st.builds(
        lambda state, wait, callback: ev.Epoch(
            t=0.0, pid=4711, state=state, epoch=1, first_wait_s=wait, callbacks={"C": callback}
        ),
        st.sampled_from(["begin", "end"]),
        st.none() | SECONDS,
        SECONDS,
    ),
    st.builds(
        lambda doing: ev.Stood(t=0.0, pid=4711, looks=1, doing=doing),
        st.dictionaries(st.sampled_from(["imported/keras", "idle/python", "nonsense"]), st.floats(-1e3, 1e4)),
    ),
)


@given(st.lists(st.tuples(SECONDS, MOMENTS), max_size=25))
def test_it_sums_whatever_is_told(moments: list[tuple[float, ev.Event]]) -> None:
    t, journal = 1.0, list(start()[:-1])
    for pause, event in moments:
        t += pause
        journal.append(type(event)(**{**vars(event), "t": T0 + t}))
    found = whole_run(fold(journal))
    if found is not None:
        assert sum(part.seconds for part in found.parts) == pytest.approx(found.wall_s, rel=0.01)


def test_the_text_says_the_longest_parts_first() -> None:
    told = report_account.account(state_of(SETUP, [steps(46.0, 20, 50.0)]))
    assert report_account.text(told)[0].startswith("whole run  fit() before its first step 41")


def test_steps_that_are_a_moment_of_a_long_run_are_not_judged_like_it() -> None:
    def judged(end: float) -> str:
        journal = [*start(), *windows(4, wait=0.6), ev.RunEnded(t=T0 + end, exit_code=0, wall_s=end)]
        return next(f.severity for f in diagnose(fold(journal)) if f.id == "input.bound")

    assert judged(20.0) == "critical"
    assert judged(600.0) == "info"


def outside(*events: ev.Event, end: float = 46.0, exit_code: int = 0) -> list[Finding]:
    over = ev.RunEnded(t=T0 + end, wall_s=end, exit_code=exit_code)
    return [f for f in diagnose(state_of(SETUP, list(events), [over])) if f.id == "run.outside_training"]


def test_the_line_and_keras_own_function_are_named() -> None:
    place: StoodAt = {
        "part": "preparing",
        "doing": "keras",
        "file": "/home/u/train.py",
        "line": 33,
        "text": "net.fit(x)",
        "seconds": 40.0,
        "within": "data_adapter_utils.py:134 class_weight_to_sample_weights",
    }
    (found,) = outside(steps(46.0, 20, 50.0), ev.Stood(t=T0 + 46, pid=4711, looks=400, places=[place]))
    assert "fit() before its first step took 41" in found.title
    assert "train.py:33" in found.lines[0] and "class_weight_to_sample_weights" in found.lines[0]
    assert "sample_weight" in found.next


def test_what_is_known_to_be_needless_is_told_sooner() -> None:
    def told(seconds: float, within: str) -> list[str]:
        place: StoodAt = {"part": "preparing", "doing": "keras", "file": "/home/u/train.py", "line": 33,
                          "text": "fit(x)", "seconds": seconds, "within": within}  # fmt: skip
        spent = {"importing": 7.0, "preparing": seconds, "fit": 5.0}
        end = 1.0 + sum(spent.values())
        stood = ev.Stood(t=T0 + end, pid=4711, looks=100, places=[place])
        journal = [phase(1.0, "importing"), phase(end, "idle", **spent), stood]
        over = ev.RunEnded(t=T0 + end, exit_code=0, wall_s=end)
        found = diagnose(state_of(start()[:-1], windows(20), [*journal, over]))
        return [f.next for f in found if f.id == "run.outside_training"]

    class_weights = "data_adapter_utils.py:134 class_weight_to_sample_weights"
    assert "sample_weight" in told(10.0, class_weights)[0]
    assert told(4.0, class_weights) == [], "that is not worth a word"
    assert told(10.0, "epoch_iterator.py:111 _enumerate_iterator") == [], "short runs have long starts"


def test_what_failed_or_goes_on_is_not_judged_as_a_whole() -> None:
    assert outside(steps(46.0, 20, 50.0))
    assert not outside(steps(46.0, 20, 50.0), exit_code=1)
    assert not [f for f in diagnose(state_of(SETUP, [steps(46.0, 20, 50.0)])) if f.id == "run.outside_training"]
    assert not outside(steps(146.0, 100, 1000.0), end=146.0)  # the steps are most of it


def test_a_fit_of_one_epoch_in_a_loop_that_mostly_validates_is_told() -> None:
    def epochs(validation_s: float) -> RunState:
        ended: list[ev.Event] = [
            ev.Epoch(t=T0 + 5 + fit, pid=4711, state="end", epoch=1, fit=fit, wall_s=1.0, validation_s=validation_s)
            for fit in range(1, 7)
        ]
        return state_of(start(), windows(4), ended)

    assert "host.validation" in {f.id for f in diagnose(epochs(0.9))}
    assert "host.validation" not in {f.id for f in diagnose(epochs(0.1))}


def test_two_runs_are_compared_part_by_part() -> None:
    def run(prepared_s: float) -> RunState:
        spent = {"importing": 2.0, "preparing": prepared_s}
        end = 5.0 + prepared_s
        told = [phase(1.0, "importing"), phase(3.0 + prepared_s, "fit", **spent), steps(end, 20, 100.0)]
        return state_of(start()[:-1], told, [ev.RunEnded(t=T0 + end, exit_code=0, wall_s=end)])

    rows = {row.label.strip(): row for row in compare.rows(run(20.0), run(1.0))}
    assert rows["whole run"].before.startswith("25")
    assert rows["fit() before its first step"].after.startswith("1")
