"""Several processes train: in step for one model, or apart."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.journals import T0, pipeline, start, state_of, steps, windows
from tfgpu_tui.core import checkpoint, rows
from tfgpu_tui.core import events as ev
from tfgpu_tui.core.parts.processes import LIMIT
from tfgpu_tui.core.state import RunState, fold
from tfgpu_tui.diagnose import diagnose
from tfgpu_tui.diagnose.finding import Finding
from tfgpu_tui.report import plain, report_json

MIB = 1 << 20


def job(pid: int, index: int, asynchronous: bool = False) -> ev.Job:
    return ev.Job(t=T0 + 1.5, pid=pid, task="worker", index=index, workers=2, asynchronous=asynchronous)


def epoch(pid: int, number: int = 1, planned: int = 500) -> ev.Epoch:
    return ev.Epoch(t=T0 + 1.6, pid=pid, state="begin", epoch=number, epochs=1, steps=planned, fit=1)


def trains(pid: int, count: int = 16, wait: float = 0.0) -> list[ev.Event]:
    return [replace(event, pid=pid) for event in windows(count, wait=wait)]


def two(count: int = 16, wait: float = 0.15, *before: ev.Event) -> list[ev.Event]:
    """Process 1 waits for its input, process 2 does not; their windows come by turns."""
    by_turns = zip(trains(1, count, wait), trains(2, count), strict=True)
    return [*start(), *before, *(event for pair in by_turns for event in pair)]


def in_step(count: int = 16, wait: float = 0.15) -> RunState:
    return fold(two(count, wait, job(1, 0), job(2, 1), epoch(1), epoch(2)))


def apart(count: int = 16, wait: float = 0.15) -> RunState:
    return fold(two(count, wait, epoch(1), epoch(2)))


def found(state: RunState, name: str) -> Finding:
    return next(finding for finding in diagnose(state) if finding.id == name)


def test_a_step_of_a_synchronous_job_counts_once() -> None:
    state = in_step(4)
    assert state.training.manner.kind == "synchronous"
    assert state.train.steps == 5 + 4 * 25
    assert (state.step_in_epoch, state.epoch_steps) == (105, 500)
    assert state.eta_s() == pytest.approx(395 * 0.010, rel=0.05)
    assert state.processes[2].steps.train.steps == 105


def test_the_slowest_process_stands_for_a_synchronous_job() -> None:
    """All steps take as long: the one that waits for its input is the one that the others wait for."""
    state = in_step()
    assert state.described.pid == 1
    assert state.judged.shares()["input_wait"] == pytest.approx(0.15)


def test_a_longer_step_makes_a_process_the_slowest_whatever_it_does() -> None:
    longer: list[ev.Event] = [steps(2.25 + i, 20, 30.0, pid=2) for i in range(5)]
    waiting: list[ev.Event] = [steps(2.25 + i, 20, 10.0, wait=0.5, pid=1) for i in range(5)]
    state = state_of(start(), [job(1, 0), job(2, 1)], waiting, longer)
    assert state.described.pid == 2


def test_steps_of_processes_that_train_apart_are_summed() -> None:
    state = apart(4)
    assert state.training.manner.kind == "apart"
    assert state.train.steps == 2 * (5 + 4 * 25)


def test_fits_of_processes_that_train_apart_are_summed() -> None:
    several = [
        event
        for pid in (1, 2, 3, 4)
        for fit in (1, 2)
        for event in (
            *trains(pid, 2)[: 3 if fit == 1 else 0],
            steps(9.0 + fit, pid=pid, fit=fit),
            ev.FitCalls(t=T0 + 20 + pid, pid=pid, count=fit, wall_s=2.0 * fit),
        )
    ]
    state = fold([*start(), *several])
    assert state.fits == 8 and report_json.build(state)["training"]["fits"] == 8
    assert state.first_fit is not None and state.fit_calls is not None
    assert (state.first_fit.calls, state.fit_calls.calls) == (4, 4)
    assert (state.first_fit.wall_s, state.fit_calls.wall_s) == (8.0, 8.0)
    again = checkpoint.load(checkpoint.dump(state))
    assert (again.fits, again.fit_calls) == (8, state.fit_calls)


def test_the_epoch_of_processes_that_train_apart_is_that_of_the_one_with_the_most_left() -> None:
    state = apart(4)
    assert (state.step_in_epoch, state.epoch_steps) == (105, 500)
    state.apply(epoch(2, planned=1000))
    assert (state.step_in_epoch, state.epoch_steps) == (0, 1000)
    assert state.eta_s() == pytest.approx(1000 * 0.010, rel=0.05)


def test_a_process_that_is_silent_for_long_is_in_no_epoch() -> None:
    state = apart(4)
    state.apply(epoch(2, planned=100_000))
    for i in range(80):
        state.apply(steps(10 + i, 2, pid=1))
    assert (state.step_in_epoch, state.epoch_steps) == (265, 500)


def test_one_process_that_waits_is_found_and_named() -> None:
    """15 % and 0 % are 7.5 % together, which is under the gate."""
    told = found(in_step(), "input.bound")
    assert told.title == "Input-bound: 15 % of each step waits for data (worker 0)"
    assert told.lines[-1] == "not in worker 1"
    assert (told.evidence["process"], told.evidence["processes"]) == (1, [1])
    assert found(apart(), "input.bound").title.endswith("(process 1)")


def test_of_several_that_wait_the_worst_is_named_and_the_others_follow() -> None:
    state = state_of(start(), trains(1, wait=0.15), trains(2, wait=0.5), trains(3))
    told = found(state, "input.bound")
    assert told.title == "Input-bound: 50 % of each step waits for data (process 2)"
    assert told.lines[-2:] == ["process 1: Input-bound: 15 % of each step waits for data", "not in process 3"]
    assert [finding.id for finding in diagnose(state)].count("input.bound") == 1


def test_a_healthy_job_has_no_finding_of_its_processes() -> None:
    assert [f.id for f in diagnose(in_step(wait=0.0))] == [f.id for f in diagnose(state_of(start(), windows(16)))]


def test_findings_of_one_process_name_none() -> None:
    told = found(state_of(start(), windows(16, wait=0.5)), "input.bound")
    assert "process" not in told.title and "process" not in told.evidence


def test_the_same_training_started_twice_does_not_pass_for_one_in_step() -> None:
    assert [process.steps.train.steps for process in apart().training.training()] == [405, 405]
    assert apart().training.manner.why == "nothing says that they train one model together"


@pytest.mark.parametrize(("replicas", "kind"), [(2, "synchronous"), (1, "apart")])
def test_as_many_replicas_as_processes_and_as_many_steps_are_one_job(replicas: int, kind: str) -> None:
    models = [ev.Model(t=T0 + 1, pid=pid, name="net", replicas=replicas) for pid in (1, 2)]
    assert fold(two(8, 0.15, *models)).training.manner.kind == kind


def test_replicas_with_other_counts_of_steps_are_two_jobs() -> None:
    models = [ev.Model(t=T0 + 1, pid=pid, name="net", replicas=2) for pid in (1, 2)]
    state = fold(two(8, 0.15, *models))
    for i in range(20):
        state.apply(steps(20 + i, 25, pid=1))
    assert state.training.manner.kind == "apart"


def test_workers_with_parameter_servers_go_their_own_ways() -> None:
    state = fold(two(8, 0.15, job(1, 0, asynchronous=True), job(2, 1, asynchronous=True)))
    assert state.training.manner.kind == "apart"


def allocator(t: float, pid: int, current: int, peak: int) -> ev.TfMemory:
    row: rows.MemoryDevice = {
        "device": "GPU:0",
        "current_bytes": current * MIB,
        "peak_bytes": peak * MIB,
        "limit_bytes": None,
    }
    return ev.TfMemory(t=T0 + t, pid=pid, devices=[row])


def test_each_process_keeps_its_own_allocator() -> None:
    state = in_step()
    state.apply(allocator(10, 1, 100, 400))
    state.apply(allocator(10, 2, 10, 40))
    assert state.tf_memory["GPU:0"]["current_bytes"] == 100 * MIB
    assert state.processes[2].memory.tf_memory["GPU:0"]["peak_bytes"] == 40 * MIB


def test_allocators_of_processes_apart_are_summed_while_they_live() -> None:
    state = apart()
    state.apply(allocator(10, 1, 100, 400))
    state.apply(allocator(10, 2, 10, 40))
    assert state.tf_memory["GPU:0"]["current_bytes"] == 110 * MIB
    assert state.tf_memory["GPU:0"]["peak_bytes"] == 440 * MIB
    state.apply(allocator(60, 2, 20, 40))
    assert state.tf_memory["GPU:0"]["current_bytes"] == 20 * MIB, "the other one is gone"


def test_what_one_process_tells_of_its_input_and_layers_is_its_own() -> None:
    mine, other = pipeline()[0], ev.Pipeline(t=T0 + 3, pid=2, stages=[], note="not measured")
    row: rows.Layer = {"layer": "dense", "class": "Dense", "forward": {"GPU:0": 3}}
    state = in_step()
    for event in (
        ev.Pipeline(t=mine.t, pid=1, stages=mine.stages) if isinstance(mine, ev.Pipeline) else mine,
        other,
        ev.Placement(t=T0 + 3, pid=1, layers=[row]),
        ev.Placement(t=T0 + 3, pid=2, layers=[]),
        ev.Knobs(t=T0 + 3, pid=1, in_force={"jit_compile": "on"}),
        ev.Knobs(t=T0 + 3, pid=2, in_force={"jit_compile": "off"}),
    ):
        state.apply(event)
    assert state.pipeline is not None and state.pipeline.stages
    assert state.placement is not None and state.placement.layers == [row]
    assert state.knobs_in_force is not None and state.knobs_in_force.in_force == {"jit_compile": "on"}
    assert state.processes[2].layers.placement == ev.Placement(t=T0 + 3, pid=2, layers=[])


def test_what_makes_batches_is_counted_with_the_process_that_started_it() -> None:
    user: list[rows.WorkerFunction] = [
        {"name": "load", "kind": "getitem", "calls": 3, "seconds": 0.3, "file": "d.py", "line": 1}
    ]
    state = apart()
    state.apply(ev.UserCode(t=T0 + 8, pid=90, user=user, parent=1))
    assert list(state.processes[1].feed.worker_code) == [90]
    assert not state.processes[2].feed.worker_code
    assert 90 not in state.processes


def test_a_process_that_tells_much_but_does_not_train_changes_no_numbers() -> None:
    """A script that looks at its data, and trains in a child."""
    parent: list[ev.Event] = [ev.Dataset(t=T0 + 1, pid=4000, kind="tf.data", batch_size=8)]
    state, alone = state_of(start(), parent, windows(16, wait=0.3)), state_of(start(), windows(16, wait=0.3))
    assert state.training.manner.kind == "one"
    assert state.train == alone.train
    assert [f.title for f in diagnose(state)] == [f.title for f in diagnose(alone)]


def test_processes_beyond_the_limit_are_one() -> None:
    state = fold(start())
    for i in range(LIMIT + 6):
        for event in trains(1000 + i, 3):
            state.apply(event)
    assert len(state.training.several) == LIMIT
    assert state.processes[None].steps.train.steps == 6 * 80
    assert state.train.steps == (LIMIT + 6) * 80
    report = report_json.build(state)
    assert report["training"]["processes"] == LIMIT + 6
    assert (len(report["processes"]), report["processes"][-1]["pid"]) == (LIMIT + 1, None)
    assert "processes beyond the first 64, summed" in report_json.text(
        {**report, "processes": report["processes"][-2:]}
    )


def test_processes_that_never_trained_give_way() -> None:
    state = fold(start())
    for i in range(LIMIT + 6):
        state.apply(ev.Dataset(t=T0 + i, pid=2000 + i, kind="tf.data"))
    for event in [*trains(1, 3), *trains(2, 3)]:
        state.apply(event)
    assert len(state.training.several) == LIMIT
    assert {process.pid for process in state.training.training()} == {1, 2}


def test_64_processes_cost_little() -> None:
    """What they told of themselves in ten minutes: every series is full then, and takes no more later."""
    state = fold(start())
    for pid in range(1, LIMIT + 1):
        for i in range(600):
            state.apply(steps(i, pid=pid))
            state.apply(ev.Metrics(t=T0 + i, pid=pid, step=i, values={"loss": 1.0, "accuracy": 0.5}))
    assert len(checkpoint.dump(state)) < 20 * MIB


@pytest.mark.parametrize("state", [in_step(), apart()], ids=["in step", "apart"])
def test_a_checkpoint_knows_the_processes(state: RunState) -> None:
    again = checkpoint.load(checkpoint.dump(state))
    for event in [*trains(1, 4, wait=0.3), *trains(2, 4)]:
        state.apply(event)
        again.apply(event)
    assert report_json.build(again) == report_json.build(state)
    assert again.training.manner == state.training.manner


def test_the_report_of_a_synchronous_job() -> None:
    report = report_json.build(in_step())
    assert report["training"]["steps"] == 405
    assert report["training"]["describes"] == {
        "what": "slowest",
        "pid": 1,
        "why": "TF_CONFIG names them as 2 workers of one job",
    }
    one, other = report["processes"]
    assert (one["pid"], one["job"], one["steps"]) == (1, {"task": "worker", "index": 0, "workers": 2}, 405)
    assert one["phases"]["input_wait"] == pytest.approx(0.15)
    assert (other["pid"], other["phases"]["input_wait"]) == (2, 0.0)
    assert "2 processes train in step: TF_CONFIG names them" in report_json.text(report)


def test_the_report_of_processes_apart() -> None:
    report = report_json.build(apart())
    assert (report["training"]["steps"], report["training"]["describes"]["what"]) == (810, "sum")
    assert [process["steps"] for process in report["processes"]] == [405, 405]
    assert "2 processes train apart" in report_json.text(report)


def test_the_line_of_text_says_whose_numbers_it_has() -> None:
    assert "/step (input 15 %, compute 80 %, host 5 %), 2 in step: worker 0, " in plain.status_line(in_step()) + ", "
    assert "2 apart, summed" in plain.status_line(apart())
    assert " in step" not in plain.status_line(state_of(start(), windows(16)))


def test_the_report_of_one_process() -> None:
    report = report_json.build(state_of(start(), windows(16)))
    assert report["training"]["describes"] == {"what": "process", "pid": 4711, "why": None}
    (only,) = report["processes"]
    assert (only["pid"], only["main"], only["steps"]) == (4711, True, report["training"]["steps"])
    assert only["phases"] == report["phases"]
    assert "train apart" not in report_json.text(report) and "in step" not in report_json.text(report)
