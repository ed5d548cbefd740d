"""What a step's compute is made of: each instant is shared among what ran then, so that the parts sum to wall time."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tfgpu_tui.agent.placement import profile_split, profile_trace
from tfgpu_tui.agent.placement.profile_trace import Process, Run, Trace

OWNERS = {
    "m/a/MatMul": ("a", False),
    "m/b/Conv2D": ("b", False),
    "grad/b": ("b", True),
    "m/b/PyFunc": ("b", False),
    "adam/Mul": ("(optimizer)", False),
    "loss/Sum": ("(loss)", False),
}


def run(node: str, kind: str, begin_ms: float, end_ms: float, device: str = "CPU", executor: str = "7") -> Run:
    begin_us, end_us = begin_ms * 1e3, end_ms * 1e3
    return Run(node, kind, device, begin_us, end_us, end_us, executor if device == "CPU" else "")


def steps(of_one: list[Run], count: int = 3, length_ms: float = 100.0) -> list[Run]:
    """The same step again and again."""
    return [
        r._replace(
            begin_us=r.begin_us + i * length_ms * 1e3,
            end_us=r.end_us + i * length_ms * 1e3,
            until_us=r.until_us + i * length_ms * 1e3,
        )
        for i in range(count)
        for r in of_one
    ]


def split(trace: Trace, placed: dict[str, str] | None = None, loop_in: str = "b") -> profile_split.Split:
    found = profile_split.split(trace, {**OWNERS, f"m/{loop_in}/map/while": (loop_in, False)}, placed or {})
    assert found is not None
    assert sum(found.parts.values()) == pytest.approx(found.compute_ms)
    return found


def test_ops_that_overlap_share_the_time() -> None:
    one = [
        run("adam/Mul", "Mul", 0, 10),
        run("m/a/MatMul", "MatMul", 10, 50),
        run("m/b/Conv2D", "Conv2D", 30, 70),
        run("grad/b", "Conv2DBackpropInput", 70, 90),
    ]
    found = split(Trace(steps(one), [], [(i * 1e5, i * 1e5 + 95e3) for i in range(3)]))
    assert (found.steps, found.step_ms) == (2, 100.0)
    assert found.compute_ms == pytest.approx(95), "the 5 ms outside of the call are the host's"
    assert found.parts == pytest.approx({"optimizer": 10, "forward": 60, "backward": 20, "runtime": 5})
    assert found.by_layer["a"] == pytest.approx({"forward": 30})
    assert found.by_layer["b"] == pytest.approx({"forward": 30, "backward": 20})
    assert found.ops[0]["ms"] == pytest.approx(30)


def test_a_loop_keeps_its_runs_and_what_only_launches_kernels_is_a_gap() -> None:
    one = [
        run("adam/Mul", "Mul", 0, 1, "GPU:0"),
        run("m/a/MatMul", "MatMul", 1, 30),  # it launches the kernels below
        *[run("m/a/MatMul", "MatMul", 10 + i, 10.5 + i, "GPU:0") for i in range(8)],
        run("grad/b", "Cast", 20, 30),  # placed on the CPU: the GPU waits for it
        run("", "MemcpyH2D", 40, 50, "GPU:0"),
        run("", "ncclDevKernel_AllReduce", 50, 55, "GPU:0"),
    ]
    found = split(Trace(steps(one), [], [(0, 3e5)]), {"grad/b": "CPU:0", "m/a/MatMul": "GPU:0"})
    expected = {"optimizer": 1, "forward": 4, "backward": 10, "copies": 10, "collectives": 5, "gaps": 70}
    assert found.parts == pytest.approx(expected)
    row = next(row for row in found.ops if row["layer"] == "a")
    assert (row["op"], row["device"], row["runs"]) == ("MatMul", "GPU:0", 8)


def test_python_in_the_graph_is_a_part_of_its_own_and_the_input_pipeline_is_none() -> None:
    one = [
        run("adam/Mul", "Mul", 0, 10),
        run("m/b/PyFunc", "PyFunc", 20, 60),
        run("DecodeJpeg", "DecodeJpeg", 0, 100, executor="the pipeline's"),
        run("Sum", "Sum", 60, 61),
    ]
    batches = [("IteratorGetNext", i * 1e5 + 65e3, i * 1e5 + 95e3) for i in range(3)]
    found = split(Trace(steps(one), batches, [(0, 3e5)]))
    assert found.parts == pytest.approx({"optimizer": 10, "python": 40, "unknown": 1, "runtime": 19})
    assert found.by_layer["b"] == pytest.approx({"python": 40, "runtime": 10})
    assert found.idle == pytest.approx({"python": 10, "call": 9}), "9 ms around the batch, at the call's ends"
    assert found.compute_ms == pytest.approx(70), "30 ms wait for the batch"


def test_ops_too_cheap_to_be_told_count_for_the_next_one_and_a_loop_tells_its_turns() -> None:
    one = [run("adam/Mul", "Mul", 0, 10), run("m/a/MatMul", "MatMul", 10, 20), run("m/b/Conv2D", "Conv2D", 70, 90)]
    turns = [
        Process("7", turn, step * 1e5 + 20e3 + turn * 1e3, step * 1e5 + 20.5e3 + turn * 1e3)
        for step in range(3)
        for turn in range(1, 41)
    ]
    others = [Process("the pipeline's", turn, turn * 1e3, turn * 1e3 + 900) for turn in range(1, 300)]
    found = split(Trace(steps(one), [], [(i * 1e5, i * 1e5 + 95e3) for i in range(3)], [*turns, *others]))
    assert found.parts == pytest.approx({"optimizer": 10, "forward": 50, "runtime": 35})
    assert found.by_layer["b"] == pytest.approx({"forward": 40, "runtime": 30})
    assert found.idle == pytest.approx({"forward": 30, "call": 5})
    assert found.turns == {"b": 40.0}
    assert next(row for row in found.ops if row["op"] == profile_split.SMALL)["layer"] == "b"
    before = split(Trace(steps(one), [], [(i * 1e5, i * 1e5 + 95e3) for i in range(3)], turns), loop_in="a")
    assert before.turns == {"a": 40.0}, "the next layer has no loop"
    at_once = [run("m/b/map/while/Mul", "Mul", 20 + turn, 20.5 + turn)._replace(turn=turn) for turn in range(1, 41)]
    both = split(Trace(steps([*one, *at_once]), [], [(i * 1e5, i * 1e5 + 95e3) for i in range(3)], turns))
    assert both.turns == {"b": 40.0}, "an op and its executor's work may begin in the same microsecond"


def test_what_the_layout_optimizer_put_there_is_told_apart() -> None:
    added = run("m/b/Conv2D-0-TransposeNCHWToNHWC-LayoutOptimizer", "Transpose", 10, 20)
    one = [run("adam/Mul", "Mul", 0, 10), added, run("m/b/Conv2D", "Conv2D", 20, 30)]
    found = split(Trace(steps(one), [], [(0, 3e5)]))
    assert found.by_layer["b"] == pytest.approx({"forward": 20})
    assert [(row["op"], row.get("layout")) for row in found.ops if row["layer"] == "b"] == [
        ("Transpose", True),
        ("Conv2D", None),
    ]


def test_without_two_steps_there_is_nothing_to_tell() -> None:
    one = steps([run("adam/Mul", "Mul", 0, 10)], count=1)
    assert profile_split.split(Trace(one, [], []), OWNERS, {}) is None
    assert profile_split.split(Trace([], [], []), OWNERS, {}) is None


def test_a_real_gpus_step_sums_up_with_its_gaps() -> None:
    """Two steps of `benchmarks/gpu_cases/many_layers.py` (KIND=conv) on an NVIDIA H200, TensorFlow 2.21."""
    file = Path(__file__).parents[1] / "agent" / "traces" / "h200-conv.trace.gz"
    trace = profile_trace.trace(gzip.decompress(file.read_bytes()))
    owners = {}
    for r in trace.runs:
        if "/adam/" in r.node:
            owners[r.node] = ("(optimizer)", False)
        elif "/sequential_1/" in r.node:
            owners[r.node] = (r.node.split("/sequential_1/")[1].split("/")[0], "gradient_tape" in r.node)
    found = profile_split.split(trace, owners, {})
    assert found is not None
    assert sum(found.parts.values()) == pytest.approx(found.compute_ms)
    assert found.compute_ms < found.step_ms, "the rest is the wait for the batch, and the host's"
    assert found.parts["backward"] == pytest.approx(5.703, abs=0.001)
    assert found.parts["forward"] == pytest.approx(3.051, abs=0.001)
    assert found.parts["gaps"] == pytest.approx(1.566, abs=0.01), "between kernels, and before the first"
    assert found.by_layer["conv2_1"]["forward"] == pytest.approx(0.204, abs=0.001)


@pytest.mark.parametrize(
    ("ran", "count"),
    [
        ({"adam/Mul": 3, "m/a/MatMul": 30}, 3),
        ({"m/a/MatMul": 3, "m/b/Conv2D": 3, "grad/b": 30}, 3),
        ({"loss/Sum": 2}, 0),
        ({}, 0),
    ],
    ids=["a-loop", "no-optimizer", "between-two-epochs", "nothing"],
)
def test_steps_are_counted_by_the_optimizer_or_by_layers(ran: dict[str, int], count: int) -> None:
    times = profile_trace.Times({name: profile_trace.Op("Op", 1.0, runs) for name, runs in ran.items()}, {})
    assert profile_split.steps_in(times, OWNERS) == count


def test_steps_of_a_graph_without_layers_are_counted_by_any_op() -> None:
    times = profile_trace.Times({"loss/Sum": profile_trace.Op("Sum", 1.0, 4)}, {})
    assert profile_split.steps_in(times, {"loss/Sum": ("(loss)", False)}) == 4
