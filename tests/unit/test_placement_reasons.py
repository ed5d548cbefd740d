"""Why an op is not on the GPU, on a machine that has one: from nodes as TensorFlow's final graph has them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tfgpu_tui.agent.placement import kernels, rows
from tfgpu_tui.agent.placement.graph import Traced, best, tally
from tfgpu_tui.agent.placement.layers import Facts
from tfgpu_tui.agent.placement.placement_record import Recording
from tfgpu_tui.agent.placement.reasons import Cause, Reasons

LINES = [
    "MatMul T=float32",
    "Shape T=float32",
    "AddV2 T=float32 | T=int32 host",
    "AsString -",
    "_UnaryOpsComposition -",
]
TABLE = kernels.Kernels("a table", kernels.parse(LINES).get)
FLOAT32, INT32, INT64 = 1, 3, 9


def types(number: int) -> kernels.Types:
    return lambda name: (number,) if name == "T" else ()


@pytest.mark.parametrize(
    ("op", "dtype", "asked", "device", "cause"),
    [
        ("MatMul", FLOAT32, None, "GPU:0", None),
        ("MatMul", FLOAT32, "CPU:0", "CPU:0", Cause("pinned")),
        ("MatMul", FLOAT32, "GPU:5", "CPU:0", Cause("soft_placement")),
        ("MatMul", FLOAT32, None, "CPU:0", Cause("unknown")),
        # They have a GPU kernel, and TensorFlow keeps them on the host.
        ("Shape", FLOAT32, None, "CPU:0", Cause("host_memory")),
        ("Shape", FLOAT32, None, "GPU:0", None),
        ("Shape", FLOAT32, "CPU:0", "CPU:0", Cause("pinned")),
        ("MatMul", INT64, None, "CPU:0", Cause("dtype_no_kernel", "int64")),
        ("AddV2", INT32, None, "CPU:0", Cause("host_memory")),
        ("AsString", FLOAT32, None, "CPU:0", Cause("no_gpu_kernel")),
        # A pin changes nothing for an op that can't go anywhere else.
        ("AsString", FLOAT32, "CPU:0", "CPU:0", Cause("no_gpu_kernel")),
        # Made by TensorFlow's optimizer of ops that were on the CPU before.
        ("_UnaryOpsComposition", FLOAT32, None, "CPU:0", Cause("unknown")),
        ("_UnaryOpsComposition", FLOAT32, "CPU:0", "CPU:0", Cause("pinned")),
    ],
)
def test_each_op_on_the_cpu_has_its_reason(
    op: str, dtype: int, asked: str | None, device: str, cause: Cause | None
) -> None:
    assert Reasons(TABLE, gpu=True).of(op, types(dtype), asked, device) == cause


def test_without_a_gpu_only_what_would_stay_on_the_cpu_is_told() -> None:
    reasons = Reasons(TABLE, gpu=False)
    assert reasons.of("MatMul", types(FLOAT32), None, "CPU:0") is None
    assert reasons.of("MatMul", types(FLOAT32), "GPU:5", "CPU:0") is None
    assert reasons.of("AsString", types(FLOAT32), None, "CPU:0") == Cause("no_gpu_kernel")
    assert reasons.of("_UnaryOpsComposition", types(FLOAT32), None, "CPU:0") is None
    assert Reasons(None, gpu=False).of("AsString", types(FLOAT32), None, "CPU:0") is None


def node(name: str, op: str, device: str, *inputs: str) -> Any:
    value = SimpleNamespace(type=FLOAT32, WhichOneof=lambda _: "type")
    return SimpleNamespace(name=name, op=op, device=f"/job:localhost/device:{device}", input=inputs, attr={"T": value})


def test_the_row_of_a_layer_tells_its_devices_copies_and_reasons() -> None:
    layer = Facts("dense", "Dense", library=False, model=False, variables={})
    traced = Traced(Recording())
    traced.owner = dict.fromkeys(("m/dense/MatMul", "m/dense/AsString", "m/dense/read"), (1,))
    traced.stacks = {(1,): 1}
    nodes = [
        node("m/dense/read", "ReadVariableOp", "CPU:0"),
        node("m/dense/MatMul", "MatMul", "GPU:0", "x", "m/dense/read"),
        node("m/dense/AsString", "AsString", "CPU:0", "m/dense/MatMul"),
        node("AddV2", "AddV2", "GPU:0"),
    ]
    graph = SimpleNamespace(node=nodes, library=SimpleNamespace(function=[]))
    result = tally(graph, traced, Reasons(TABLE, gpu=True))
    assert (result.ops, result.unattributed) == (3, 1)
    (row,) = rows.table(result.tallies, traced.stacks, {1: layer}, gpu=True).rows
    assert row["forward"] == {"GPU:0": 1, "CPU:0": 1}
    assert row["not_on_gpu"] == [{"op": "AsString", "ops": 1, "why": "no_gpu_kernel", "dtype": None}]
    assert row["reason"] == "AsString: no GPU kernel"
    assert row["copies"] == {"CPU:0 > GPU:0": 1, "GPU:0 > CPU:0": 1}
    assert row["variable_copies"] == 1
    assert row["predicted"] is None


def test_gradients_that_a_tape_outside_takes_are_joined_with_their_function() -> None:
    traced = Traced(Recording())
    traced.owner = {"m/dense/MatMul": (1,)}
    traced.scope_owner = {"m/dense": (1,)}
    traced.stacks = {(1,): 1}
    forward = [node("m/dense/MatMul", "MatMul", "GPU:0"), node("Mean", "Mean", "GPU:0")]
    backward = [
        node("gradients/m/dense/MatMul_grad/MatMul", "MatMul", "GPU:0"),
        node("gradients/m/dense/MatMul_grad/MatMul_1", "MatMul", "GPU:0"),
        node("gradients/Mean_grad/Tile", "Tile", "GPU:0"),
    ]
    no_library = SimpleNamespace(function=[])
    graphs = [SimpleNamespace(node=nodes, library=no_library) for nodes in (backward, forward)]
    reasons = Reasons(TABLE, gpu=True)
    both = best(graphs, traced, reasons)
    assert both is not None and both.trains
    assert (both.ops, both.unattributed) == (5, 1)
    assert both.tallies[(1,)].forward == {"GPU:0": 1}
    assert both.tallies[(1,)].backward == {"GPU:0": 2}
    assert both.tallies[("(loss)",)].backward == {"GPU:0": 1}
    assert best(graphs[:1], traced, reasons) is None, "without the function itself"
    alone = best(graphs[1:], traced, reasons)
    assert alone is not None and not alone.trains and alone.ops == 2


def test_more_layers_than_a_person_reads_are_summed_up() -> None:
    layers: dict[Any, Facts] = {i: Facts(f"layer{i}", "Layer", False, False, {}) for i in range(3000)}
    tallies: dict[Any, Any] = {(0, i): tally_of_one() for i in range(1, 3000)}
    table = rows.table(tallies, dict.fromkeys(tallies, 1), layers, gpu=True)
    assert len(table.rows) <= rows.MAX_ROWS + 1
    assert sum(sum(row["forward"].values()) for row in table.rows) == 2999


def tally_of_one() -> Any:
    from tfgpu_tui.agent.placement.graph import Tally

    counted = Tally()
    counted.forward["GPU:0"] += 1
    return counted
