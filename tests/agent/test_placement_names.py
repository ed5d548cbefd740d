"""From op names to layers: the pure part."""

from __future__ import annotations

import pytest

from tfgpu_tui.agent.placement import names


@pytest.mark.parametrize(
    ("full", "short"),
    [
        ("/job:localhost/replica:0/task:0/device:GPU:0", "GPU:0"),
        ("/device:CPU:1", "CPU:1"),
        ("", "?"),
    ],
)
def test_a_device_is_shown_by_type_and_number(full: str, short: str) -> None:
    assert names.short_device(full) == short


def test_only_the_scripts_own_tf_device_counts_as_asked() -> None:
    assert names.asked_device("/device:GPU:3") == "GPU:3"
    assert names.asked_device("/job:localhost/replica:0/task:0/device:CPU:0") is None
    assert names.asked_device("") is None


def test_inlining_prefixes_are_taken_off_innermost_first() -> None:
    name = "StatefulPartitionedCall/rnn/while/body/_12/rnn/cell/MatMul"
    assert names.own_names(name) == ["rnn/cell/MatMul", "rnn/while", "StatefulPartitionedCall"]
    assert names.own_names("dense/MatMul") == ["dense/MatMul"]


def test_an_op_belongs_to_the_innermost_call_and_its_gradient_follows() -> None:
    ops = ["x", "model/a/MatMul", "model/a/Relu", "model/Sum", "loss"]
    owner = names.paint(ops, (), [(1, 3, (1, 2)), (1, 4, (1,))])
    assert owner == {"model/a/MatMul": (1, 2), "model/a/Relu": (1, 2), "model/Sum": (1,)}
    scopes = names.scopes(owner)
    for name in ("model/a/Relu", "PartitionedCall/gradient_tape/model/a/MatMul_1", "gradient_tape/model/a/x"):
        assert names.find(names.own_names(name), owner, scopes) == (1, 2)
    assert names.find(["AddN"], owner, scopes) is None


def test_an_unknown_loop_body_falls_back_to_the_layer_that_loops() -> None:
    owner: dict[str, names.Stack] = {"rnn/while": (7,)}
    name = "StatefulPartitionedCall/rnn/while/body/_3/something/Add"
    assert names.find(names.own_names(name), owner, {}) == (7,)


def test_what_lies_between_the_model_and_the_first_gradient_is_the_loss() -> None:
    ops = ["m/MatMul", "sub", "mean", "gradient_tape/mean", "sgd/Assign"]
    intervals: list[names.Interval] = [(0, 1, (1,)), (4, 5, (names.OPTIMIZER,))]
    owner = names.paint(ops, (), intervals)
    names.paint_loss(ops, intervals, owner)
    assert owner["sub"] == owner["mean"] == (names.LOSS,)
    assert "gradient_tape/mean" not in owner
