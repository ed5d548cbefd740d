"""A TensorFlow whose private parts moved: the hook is off and named, what it measured is unknown, the training runs."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from tfgpu_tui.agent.hooks import keras_models
from tfgpu_tui.core import events as journal
from tfgpu_tui.core.state import RunState
from tfgpu_tui.report import report_json

from .conftest import Event, of_type, other_pythons, run_script

HIDE = """
    import json, os, sys

    class Hidden:
        # What the agent's patches get in a module's (or class') place: the same, without some names.
        def __init__(self, inner, names):
            vars(self).update(_inner=inner, _names=names)

        def __getattr__(self, name):
            below = [n.partition(".")[2] for n in self._names if n.partition(".")[0] == name]
            if "" in below:
                raise AttributeError(f"{self._inner.__name__} has no {name}")
            value = getattr(self._inner, name)
            return Hidden(value, below) if below else value

        def __setattr__(self, name, value):
            setattr(self._inner, name, value)

    class Finder:
        # Asked for `tensorflow.python` when the agent is loaded and no module that it patches is.
        def find_spec(self, name, path=None, target=None):
            if name == "tensorflow.python":
                patches = sys.modules["_tfgpu_agent.hooks.imports"]._patches
                for module, names in json.loads(os.environ["HIDDEN"]).items():
                    assert patches[module], module
                    patches[module][:] = [lambda m, p=p, n=names: p(Hidden(m, n)) for p in patches[module]]

    sys.meta_path.insert(0, Finder())
"""

TRAIN = """
    import numpy as np
    import tensorflow as tf
    for raw in json.loads(os.environ.get("DELETED", "[]")):
        module, _, name = raw.rpartition(".")
        delattr(sys.modules["tensorflow.python." + module], name)
    try:
        import tf_keras as keras
    except ImportError:
        import keras

    x, y = np.zeros((320, 8), "float32"), np.zeros((320, 1), "float32")
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
    m = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
    m.compile("sgd", "mse", jit_compile=False, steps_per_execution=int(os.environ.get("SPE", "1")))
    m.fit(data, verbose=0)
    optimizer = keras.optimizers.SGD()

    @tf.function
    def step(iterator):
        a, b = next(iterator)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((m(a) - b) ** 2)
        optimizer.apply_gradients(zip(tape.gradient(loss, m.trainable_variables), m.trainable_variables))

    iterator = iter(data)
    for _ in range(40):
        step(iterator)

    @tf.function
    def epoch(dataset):
        total = tf.constant(0.0)
        for a, _ in dataset:
            total += tf.reduce_sum(a)
        return total

    print("trained", int(m.optimizer.iterations.numpy()), float(epoch(data)))
"""

ITERATORS = {
    "tensorflow.python.data.ops.iterator_ops": ["OwnedIterator._next_internal"],
    "tensorflow.python.distribute.input_lib": ["DistributedIteratorBase.get_next"],
    "tensorflow.python.data.ops.dataset_autograph": ["_general_purpose_scan"],
}
CUSTOM = {
    "tensorflow.python.eager.polymorphic_function.polymorphic_function": ["Function.__call__"],
    "tensorflow.python.eager.backprop": ["GradientTape.gradient"],
    "tensorflow.python.framework.func_graph": ["func_graph_from_py_func"],
    "tensorflow.python.data.ops.dataset_ops": ["DatasetV2._GeneratorState"],
    "tensorflow.python.eager.polymorphic_function.atomic_function": ["from_func_graph"],
}
ORDER = {"tensorflow.python.framework.auto_control_deps": ["MUST_RUN_ORDER_INSENSITIVE_STATEFUL_OPS"]}
OVERLAP = {
    "tensorflow.python.eager.polymorphic_function.atomic_function": ["make_call_op_in_graph"],
}
CALLBACKS = {
    module: ["CallbackList.on_train_begin"]
    for module in ("keras.src.callbacks.callback_list", "keras.src.callbacks", "tf_keras.src.callbacks")
}


def run_without(hidden: dict[str, list[str]], python: str, **environment: str) -> tuple[list[Event], dict[str, Any]]:
    """The agent's events and the report of a training in which the agent does not find these names."""
    told, process = run_script(HIDE + TRAIN, python, environment={"HIDDEN": json.dumps(hidden), **environment})
    assert process.returncode == 0, process.stderr
    assert process.stdout == "trained 40 0.0\n" or environment.get("SPE"), process.stdout
    state = RunState()
    for event in told:
        parsed = journal.from_dict(event)
        if parsed is not None:
            state.apply(parsed)
    return told, report_json.build(state)


def off(events: list[Event]) -> set[str]:
    return {e["hook"] for e in of_type(events, "hook_off")}


PYTHONS = [sys.executable, *other_pythons()]


@pytest.mark.parametrize("python", PYTHONS)
def test_without_the_iterators_the_wait_is_unknown(python: str) -> None:
    events, built = run_without(ITERATORS, python)
    names = {f"input_wait.{name}" for name in ("iterators", "distributed_iterators", "loops_in_functions")}
    assert names <= off(events)
    windows = of_type(events, "steps", phase="train")
    assert {w["loop"] for w in windows} == {"fit", "custom"}
    assert sum(w["steps"] for w in windows) == 80
    assert all(w["wait_s"] is None and w["compute_s"] is None for w in windows)
    assert built["phases"]["input_wait"] is None
    assert "input_wait.iterators" in built["unknown"]["phases.input_wait"]
    assert {h["hook"] for h in built["monitor"]["hooks_off"]} == off(events)


@pytest.mark.slow
def test_without_the_order_of_its_ops_no_clock_is_put_into_graphs() -> None:
    events, built = run_without(ORDER, sys.executable)
    assert "clock.keep_order" in off(events)
    assert all(w["wait_s"] is None for w in of_type(events, "steps"))
    assert "clock.keep_order" in built["unknown"]["phases.input_wait"]


def test_without_the_raw_op_the_wait_is_unknown() -> None:
    events, built = run_without({}, sys.executable, DELETED='["ops.gen_array_ops.inplace_add"]')
    assert off(events) == {"input_wait"}
    assert all(w["wait_s"] is None for w in of_type(events, "steps"))
    assert "inplace_add" in built["unknown"]["phases.input_wait"]


@pytest.mark.slow
def test_without_the_calls_in_graphs_the_wait_of_several_steps_is_a_bound() -> None:
    events, _ = run_without(OVERLAP, sys.executable, SPE="5")
    assert "overlap.calls_in_graphs" in off(events)
    fit = of_type(events, "steps", loop="fit")
    assert fit and all(w["wait_bound"] and w["wait_s"] is not None for w in fit if not w["warmup"])


@pytest.mark.parametrize("python", PYTHONS)
def test_without_the_callback_list_no_step_is_seen(python: str) -> None:
    events, built = run_without(CALLBACKS, python)
    assert any(hook.startswith("keras_hooks.") for hook in off(events))
    assert of_type(events, "steps", loop="fit") == []
    assert any(h["hook"].startswith("keras_hooks.") for h in built["monitor"]["hooks_off"])


def test_without_the_functions_of_own_loops_the_fit_is_measured_still() -> None:
    events, built = run_without(CUSTOM, sys.executable)
    names = {"custom_loop.functions", "custom_loop.gradients", "runtime.count_traces", "user_code.from_generator"}
    assert names | {"placement_compiled.functions"} <= off(events)
    assert sum(w["steps"] for w in of_type(events, "steps", loop="fit")) == 40
    assert built["phases"]["input_wait"] is not None
    assert built["training"]["traces"] is None
    assert "runtime.count_traces" in built["unknown"]["training.traces"]


class _Base:
    def compile(self) -> None: ...


class _Model(_Base):
    def fit(self) -> None: ...


class _Unrelated: ...


def test_a_class_is_found_by_either_of_its_names() -> None:
    found, with_compile, with_fit = keras_models.classes_with, keras_models.WITH_COMPILE, keras_models.WITH_FIT
    assert found("compile", SimpleNamespace(Trainer=_Base), with_compile) == [_Base]
    assert found("compile", SimpleNamespace(BaseTrainer=_Base, Trainer=_Unrelated), with_compile) == [_Base]
    assert found("fit", SimpleNamespace(TensorFlowTrainer=_Model), with_fit) == [_Model]
    assert found("fit", SimpleNamespace(Trainer=_Model), with_fit) == [_Model]
    assert found("fit", SimpleNamespace(Trainer=_Unrelated), with_fit) == []
