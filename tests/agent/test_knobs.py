"""Each knob in a real run, on and off: what is in force is read back from TensorFlow, and a script that sets it itself
is named with its line."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from tfgpu_tui.core import knobs

from .conftest import of_type, other_pythons, run_script

PYTHONS = [sys.executable, *other_pythons()]

TRAIN = """
    import os
    {before}
    import tensorflow as tf
    {between}
    try:
        import tf_keras as keras
    except ImportError:
        import keras
    import numpy as np
    {policy}
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4), keras.layers.Dense(2, dtype="float32")])
    model.compile("sgd", "mse", {arguments})
    model.fit(np.zeros((64, 8), "f"), np.zeros((64, 2), "f"), batch_size=8, verbose=0)
    print("TRUTH", tf.config.threading.get_intra_op_parallelism_threads(), model.layers[0].compute_dtype,
          tf.config.functions_run_eagerly(), os.environ.get("CUDA_VISIBLE_DEVICES"))
"""

FAKE_GPU = """
    from tensorflow.python.eager import context as _context
    _listed = _context.Context._initialize_physical_devices
    def _with_gpu(self, *args, **kwargs):
        new = self._physical_devices is None
        _listed(self, *args, **kwargs)
        gpu = _context.PhysicalDevice("/physical_device:GPU:0", "GPU")
        if new:
            self._physical_devices.append(gpu)
            self._physical_device_to_index[gpu] = 0
            self._visible_device_list.append(gpu)
            self._memory_growth_map[gpu] = None
    _context.Context._initialize_physical_devices = _with_gpu
"""
"""A GPU in TensorFlow's Python layer alone: all of its checks, its order and its errors are the real ones."""


def train(
    *settings: str, python: str = sys.executable, environment: dict[str, str | None] | None = None, **parts: str
) -> tuple[dict[str, Any], list[str], str]:
    """The last word on knobs of a run with these settings, the truth that it printed, and its stderr."""
    asked = knobs.parse(settings)
    texts = {"before": "", "between": "", "policy": "", "arguments": "", **parts}
    script = TRAIN
    for name, text in texts.items():
        lines = text.strip("\n").split("\n")
        script = script.replace("{" + name + "}", "\n".join([lines[0].strip(), *lines[1:]]))
    events, process = run_script(
        script,
        python=python,
        environment={**knobs.environment(asked, {}), **(environment or {}), "TFGPU_TUI_KNOBS": json.dumps(asked)},
    )
    assert process.returncode == 0, process.stderr[-3000:]
    off = [e for e in of_type(events, "hook_off") if not e["hook"].startswith("placement")]
    assert off == []
    (said,) = of_type(events, "knobs")
    return said, process.stdout.partition("TRUTH ")[2].split(), process.stderr


@pytest.mark.parametrize("python", PYTHONS)
def test_without_a_knob_the_scripts_own_settings_are_read_back(python: str) -> None:
    said, truth, _ = train(python=python, arguments="steps_per_execution=2")
    assert said["in_force"] == {
        "memory_growth": None,
        "gpu_memory_limit": None,
        "allocator": None,
        "gpu_thread_mode": None,
        "visible_devices": "none",
        "threads": "default",
        "jit_compile": "off",
        "run_eagerly": "off",
        "steps_per_execution": "2",
        "precision": "float32",
        "library_path": "not set",
        "determinism": "off",
    }
    for name in ("memory_growth", "gpu_memory_limit", "allocator", "gpu_thread_mode"):
        assert said["notes"][name].startswith("no GPU visible")
    assert said["script"] == {}
    assert truth[:2] == ["0", "float32"]


OWN = """
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
"""
OWN_POLICY = 'keras.mixed_precision.set_global_policy("float32")'
OWN_ARGUMENTS = "jit_compile=False, steps_per_execution=2, run_eagerly=True"


@pytest.mark.parametrize("python", PYTHONS)
def test_a_knob_wins_over_the_script_and_the_script_is_named(python: str) -> None:
    said, truth, _ = train(
        "threads=3/2",
        "jit_compile=on",
        "run_eagerly=off",
        "steps_per_execution=4",
        "precision=mixed_bfloat16",
        python=python,
        between=OWN,
        policy=OWN_POLICY,
        arguments=OWN_ARGUMENTS,
    )
    expected = {
        "threads": "3/2",
        "jit_compile": "on",
        "run_eagerly": "off",
        "steps_per_execution": "4",
        "precision": "mixed_bfloat16",
    }
    assert {name: said["in_force"][name] for name in expected} == expected
    assert truth[:3] == ["3", "bfloat16", "False"]
    assert "set_intra_op_parallelism_threads(1) at train.py:" in said["script"]["threads"]
    assert "set_global_policy(float32) at train.py:" in said["script"]["precision"]
    for name, value in (("jit_compile", "False"), ("steps_per_execution", "2"), ("run_eagerly", "True")):
        assert said["script"][name].startswith(f"compile {name}({value}) at train.py:")
    assert said["notes"]["precision"] == "1 of 2 layers with weights have a policy of their own"


@pytest.mark.slow
@pytest.mark.parametrize("python", PYTHONS)
def test_the_other_way_round(python: str) -> None:
    said, truth, _ = train(
        "jit_compile=off",
        "run_eagerly=on",
        "precision=float32",
        "threads=2",
        python=python,
        policy='keras.mixed_precision.set_global_policy("mixed_bfloat16")',
        arguments="jit_compile=True",
    )
    expected = {"jit_compile": "off", "run_eagerly": "on", "precision": "float32", "threads": "2"}
    assert {name: said["in_force"][name] for name in expected} == expected
    assert truth[:3] == ["2", "float32", "True"]


def test_variables_are_in_force_unless_the_script_changes_them_and_then_its_line_is_named() -> None:
    asked = (
        "visible_devices=0",
        "allocator=cuda_malloc_async",
        "gpu_thread_mode=gpu_private",
        "library_path=/none",
    )
    said, truth, _ = train(*asked, between=FAKE_GPU)
    assert said["in_force"]["visible_devices"] == "0"
    assert said["in_force"]["allocator"] == "cuda_malloc_async"
    assert said["in_force"]["gpu_thread_mode"] == "gpu_private"
    assert said["in_force"]["library_path"] == "/none"
    assert said["notes"]["library_path"] == "no library was loaded from there"
    assert "cuda_malloc_async takes memory as it needs it" in said["notes"]["memory_growth"]
    assert said["script"] == {}
    assert truth[3] == "0"

    before = """
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ.update(TF_GPU_THREAD_MODE="global")
"""
    said, _, _ = train("visible_devices=0", "gpu_thread_mode=gpu_private", before=before)
    assert said["in_force"]["visible_devices"] == "none"
    assert said["script"]["visible_devices"] == 'os.environ["CUDA_VISIBLE_DEVICES"] = "-1" at train.py:3'
    assert said["script"]["gpu_thread_mode"] == 'os.environ["TF_GPU_THREAD_MODE"] = "global" at train.py:4'


GROWTH = """
    gpu = tf.config.list_physical_devices("GPU")[0]
    {first}
    try:
        tf.config.experimental.set_memory_growth(gpu, {value})
    except (RuntimeError, ValueError) as error:
        print("REFUSED", error)
"""


def growth(value: bool, first: str = "") -> str:
    return FAKE_GPU + GROWTH.replace("{value}", str(value)).replace("{first}", first)


@pytest.mark.parametrize(
    ("asked", "script", "in_force"),
    [
        (("memory_growth=on",), False, "on"),
        pytest.param((), True, "on", marks=pytest.mark.slow),
        pytest.param((), False, "off", marks=pytest.mark.slow),
        pytest.param(("memory_growth=off",), True, "off", marks=pytest.mark.slow),
    ],
)
def test_growth_by_the_script_and_by_the_knob(asked: tuple[str, ...], script: bool, in_force: str) -> None:
    said, _, _ = train(*asked, between=growth(script))
    assert said["in_force"]["memory_growth"] == in_force
    assert said["script"]["memory_growth"].startswith(f"set_memory_growth({script}) at train.py:")
    assert "memory_growth" not in said["notes"]


def test_growth_that_comes_too_late_is_named_with_the_reason() -> None:
    said, _, _ = train(between=growth(True, "tf.constant(1.0)"))
    assert said["in_force"]["memory_growth"] == "off"
    assert "came too late: Physical devices cannot be modified" in said["notes"]["memory_growth"]


@pytest.mark.slow
def test_a_variable_that_the_script_changes_decides_over_growth() -> None:
    before = """
    os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] = "false"
"""
    said, _, _ = train("memory_growth=on", before=before, between=FAKE_GPU)
    assert said["in_force"]["memory_growth"] == "off"
    assert said["script"]["memory_growth"] == 'os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] = "false" at train.py:3'


@pytest.mark.slow
def test_a_memory_limit_does_not_break_a_script_that_sets_growth_itself() -> None:
    said, _, _ = train("gpu_memory_limit=512", between=growth(True))
    assert said["in_force"]["gpu_memory_limit"] == "512"
    assert said["in_force"]["memory_growth"] is None
    own = "tf.config.set_logical_device_configuration(gpu, [tf.config.LogicalDeviceConfiguration(memory_limit=99)])"
    said, _, _ = train("gpu_memory_limit=512", between=growth(True, own))
    assert said["in_force"]["gpu_memory_limit"] == "512"
    assert "set_logical_device_configuration(…) at train.py:" in said["script"]["gpu_memory_limit"]
    halves = own.replace("[tf", "2 * [tf")
    said, _, _ = train("gpu_memory_limit=512", between=growth(True, halves))
    assert said["in_force"]["gpu_memory_limit"] is None
    assert "splits a GPU" in said["notes"]["gpu_memory_limit"]


@pytest.mark.slow
def test_a_loop_of_the_scripts_own_says_what_can_not_be_set_in_it() -> None:
    script = """
    import tensorflow as tf
    variable = tf.Variable(1.0)
    optimizer = tf.keras.optimizers.SGD()
    @tf.function
    def step(x):
        with tf.GradientTape() as tape:
            loss = variable * x
        optimizer.apply_gradients([(tape.gradient(loss, variable), variable)])
    for x in tf.data.Dataset.range(30).map(lambda i: tf.cast(i, tf.float32)):
        step(x)
    """
    asked = knobs.parse(["steps_per_execution=4", "run_eagerly=on"])
    events, process = run_script(script, environment={"TFGPU_TUI_KNOBS": json.dumps(asked)})
    assert process.returncode == 0, process.stderr[-2000:]
    said = of_type(events, "knobs")[-1]
    assert said["in_force"]["steps_per_execution"] is None
    assert "can't be set in it" in said["notes"]["steps_per_execution"]
    assert said["in_force"]["run_eagerly"] == "on"
