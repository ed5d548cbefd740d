"""compute.layer and compute.optimizer beyond their pairs: each reason, and what looks like it and is healthy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.journals import T0, evidence, start, state_of, windows
from tests.unit.test_diagnose_placement import row
from tests.unit.test_each_finding import looked
from tfgpu_tui.core import events as ev
from tfgpu_tui.core import rows
from tfgpu_tui.diagnose import Finding, compute_inside, compute_unmeasured
from tfgpu_tui.report import report_json

PARTS = {"forward": 5.0, "backward": 3.5, "runtime": 1.0}


def layer_found(cls: str = "Mine", ops: list[rows.OpTime] | None = None, turns: float = 32.0) -> list[Finding]:
    placed = ev.Placement(t=T0 + 4, layers=[row(layer="a", **{"class": cls})], ops=5, predicted=True)
    look = looked(PARTS, by_layer={"a": {"forward": 4.0}}, turns={"a": turns}, ops=ops or [])
    return list(compute_inside.findings(state_of(start(), [placed], look)))


def update_found(ops: list[rows.OpTime], ms: float = 6.0, **told: Any) -> list[Finding]:
    values = {"name": "adam", "cls": "Adam", "variables": 300, "parameters": 30_000, **told}
    look = looked({"forward": 3.5, "optimizer": ms}, ops=ops)
    return list(compute_inside.findings(state_of(start(), [ev.Optimizer(t=T0 + 2, **values)], look)))


def update(op: str, ms: float, runs: float) -> rows.OpTime:
    return {"op": op, "part": "optimizer", "ms": ms, "runs": runs}


def test_a_loop_over_time_is_none_over_the_batch() -> None:
    assert [f.evidence["reason"] for f in layer_found()] == ["loop_over_batch"]
    assert layer_found("LSTM") == [] and layer_found("Bidirectional") == []
    assert layer_found(turns=100.0) == [], "no more turns than the batch has examples"
    assert [f.evidence["reason"] for f in layer_found(turns=30.5)] == ["loop_over_batch"], "the last batch is smaller"


def test_data_in_another_order_is_told_with_the_time_that_it_takes() -> None:
    added: rows.OpTime = {"op": "Transpose", "part": "forward", "layer": "a", "ms": 1.5, "runs": 2.0, "layout": True}
    (found,) = layer_found(ops=[added], turns=0.0)
    assert (found.evidence["reason"], found.severity) == ("layout", "warning")
    assert "channels_last" in found.next
    own: rows.OpTime = {**added, "layout": False}
    assert layer_found(ops=[own], turns=0.0) == [], "the script's own transposition"


def test_many_small_variables_are_told_and_few_or_large_ones_are_not() -> None:
    ops = [update("Mul", 3.0, 1800.0), update("AssignAddVariableOp", 3.0, 600.0)]
    (found,) = update_found(ops)
    assert found.evidence["reason"] == "many_variables" and "jit_compile" in found.next
    assert evidence(found)["share"] > 0.5
    assert update_found(ops, parameters=300_000_000) == []
    assert update_found([update("Mul", 6.0, 24.0)]) == []
    assert update_found(ops, ms=0.3) == [], "a small part of the step"


def test_the_norm_over_all_gradients_is_told_where_its_sums_take_the_time() -> None:
    ops = [update("Sum", 2.0, 10.0), update("Square", 3.0, 10.0)]
    assert [f.evidence["reason"] for f in update_found(ops, global_clipnorm=1.0)] == ["global_clipnorm"]
    assert update_found(ops) == []
    assert update_found([update("Square", 5.0, 10.0)], global_clipnorm=1.0) == [], "Adam's own squares"


def test_a_table_of_which_most_rows_are_looked_up_is_healthy() -> None:
    table: rows.SparseUpdate = {"variable": "t", "rows": 1000, "elements": 64_000, "slots": 2, "touched_each": 20}
    rare: rows.SparseUpdate = {**table, "rows": 100_000, "elements": 6_400_000}
    ops = [update("Mul", 6.0, 12.0)]
    assert update_found(ops, parameters=64_000, sparse=[table]) == []
    (found,) = update_found(ops, parameters=6_400_000, sparse=[rare])
    assert "640" in found.title, "20 of each of the 32 examples"
    assert update_found(ops, parameters=64_000_000, sparse=[rare]) == [], "a small part of the parameters"
    assert update_found([update("ResourceScatterSub", 6.0, 1.0)], parameters=6_400_000, sparse=[rare]) == []


def test_nothing_is_said_before_the_training_is_judged_or_without_a_look() -> None:
    assert list(compute_inside.findings(state_of(start(), windows(40)))) == []


def unmeasured(told: list[ev.Event], compute_s: float = 0.9) -> list[Finding]:
    """Of steps of which compute is that share, and nothing looked inside."""
    steps = [windows(10, wall_s=1.0, wait_s=0.95 - compute_s, compute_s=compute_s, host_s=0.05)]
    return list(compute_unmeasured.findings(state_of(start(), told, *steps)))


def test_a_loop_and_a_table_are_information_where_nothing_looked() -> None:
    layers = [row(layer="a", **{"class": "Mine"}, loops=1), row(layer="b", **{"class": "LSTM"}, loops=1)]
    placed = ev.Placement(t=T0 + 4, layers=layers, ops=5, predicted=True)
    table: rows.SparseUpdate = {"variable": "t", "rows": 100_000, "elements": 6_400_000, "slots": 2, "touched": 640}
    adam = ev.Optimizer(t=T0 + 2, name="adam", cls="Adam", variables=3, parameters=6_400_129, sparse=[table])
    found = unmeasured([placed, adam])
    assert [(f.id, f.severity, f.knob) for f in found] == [
        ("compute.layer", "info", "profile=5"),
        ("compute.optimizer", "info", "profile=5"),
    ]
    assert all(f.incomplete for f in found)
    assert found[0].evidence["layer"] == "a", "one over time is what an LSTM is"
    assert unmeasured([placed, adam], compute_s=0.3) == []
    around = replace(placed, layers=[row(layer="(optimizer)", **{"class": ""}, loops=1)])
    assert unmeasured([around]) == [], "the script's own loop over the steps is no layer's"
    assert unmeasured([replace(adam, sparse=[{**table, "elements": 900_000}])]) == [], "a small table"
    assert unmeasured([replace(adam, sparse=[{**table, "slots": 0}])]) == [], "its rows alone are updated"
    compiled = replace(placed, layers=[row(layer="a", **{"class": "Mine"}, loops=1, xla=True)])
    assert unmeasured([compiled]) == [], "no profile tells the time of a layer in it"
    look = looked({"forward": 9.0, "optimizer": 0.5})
    assert list(compute_unmeasured.findings(state_of(start(), [placed, adam], look))) == [], "it is measured"


def test_looks_at_the_stack_are_no_profile_of_layers() -> None:
    placed = ev.Placement(t=T0 + 4, layers=[row(layer="a")], ops=5, predicted=True)
    look = looked({"forward": 4.0, "optimizer": 5.5}, source="looks", note="by looks at the stack (100 looks)")
    report = report_json.build(state_of(start(), [placed], look))
    assert report["compute"]["parts"]["optimizer"]["ms"] == 5.5
    assert report["unknown"]["placement.ms"] == report["unknown"]["compute"] == "by looks at the stack (100 looks)"
    assert report["placement_basis"]["profiled_steps"] is None


def test_the_time_of_a_layer_is_unknown_where_xla_compiled_it() -> None:
    layers = [row(layer="(input)"), row(layer="a", xla=True), row(layer="block", forward={}, backward={}, xla=None)]
    placed = ev.Placement(t=T0 + 4, layers=layers, ops=5, predicted=True)
    assert "XLA" in report_json.build(state_of(start(), windows(40), [placed]))["unknown"]["placement.ms"]
    asked = ev.LayerTimes(t=T0 + 5, asked="user", refused="the training ended before")
    assert "XLA" in report_json.build(state_of(start(), windows(40), [placed, asked]))["unknown"]["placement.ms"]
    partly = ev.Placement(t=T0 + 4, layers=[*layers, row(layer="b", xla=False)], ops=5, predicted=True)
    assert "XLA" not in report_json.build(state_of(start(), windows(40), [partly]))["unknown"]["placement.ms"]
