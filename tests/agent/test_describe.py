"""What the agent says of the environment, the model and TensorFlow's memory."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from tfgpu_tui.agent.looks import describe
from tfgpu_tui.agent.memory import memory

from .conftest import Event, of_type, other_pythons, run_script

PYTHONS = [sys.executable, *other_pythons()]

SCRIPT = """
    import sys
    import numpy as np
    import tensorflow as tf
    # Would raise if anything had initialised TensorFlow before.
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )
    try:
        import tf_keras as keras
    except ImportError:
        import keras
    print("VERSIONS", tf.__version__, keras.__version__)
    i = keras.Input((8,))
    m = keras.Model(i, keras.layers.Dense(2)(keras.layers.Dense(4)(i)), name="small")
    m.compile("adam", "mse", steps_per_execution=2)
    m.fit(np.zeros((64, 8)), np.zeros((64, 2)), verbose=0)

    net = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)], name="looped")
    optimizer = keras.optimizers.SGD()

    @tf.function
    def step(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(net(x, training=True) ** 2)
        optimizer.apply_gradients(zip(tape.gradient(loss, net.trainable_variables), net.trainable_variables))

    for x in tf.data.Dataset.from_tensor_slices(np.zeros((64, 8), "f")).batch(8):
        step(x)
"""


@pytest.fixture(scope="module", params=PYTHONS)
def ran(request: pytest.FixtureRequest) -> tuple[list[Event], str]:
    events, process = run_script(
        SCRIPT,
        python=request.param,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert [e for e in of_type(events, "hook_off") if e["hook"].startswith(("describe", "memory"))] == []
    return events, process.stdout


def test_the_environment_names_the_versions_in_use(ran: tuple[list[Event], str]) -> None:
    events, out = ran
    merged: dict[str, Any] = {}
    for event in of_type(events, "environment"):
        merged.update({key: value for key, value in event.items() if value is not None})
    tensorflow, keras = out.partition("VERSIONS ")[2].split()[:2]
    assert merged["tensorflow"] == tensorflow
    assert merged["keras"] == keras
    assert merged["keras_flavour"] in ("keras3", "keras2", "tf_keras")
    assert (merged["keras_flavour"] == "keras3") == keras.startswith("3")
    assert merged["backend"] == "tensorflow"
    assert merged["tensorflow_build"].split()[0] in ("cpu", "cuda", "rocm")
    assert merged["tf_gpus"] == []
    assert merged["python"].startswith("3.")


def test_the_model_of_a_fit_is_described(ran: tuple[list[Event], str]) -> None:
    model = of_type(ran[0], "model", name="small")[-1]
    assert model["cls"] == "Functional"
    assert model["parameters"] == 8 * 4 + 4 + 4 * 2 + 2
    assert model["layers"] == 3
    assert model["optimizer"] == "Adam"
    assert model["run_eagerly"] is False
    assert model["jit_compile"] is False
    assert model["steps_per_execution"] == 2
    assert model["dtype_policy"] == "float32"
    assert model["replicas"] == 1


def test_the_model_of_a_custom_loop_is_described_as_far_as_it_is_known(ran: tuple[list[Event], str]) -> None:
    model = of_type(ran[0], "model", name="looped")[-1]
    assert model["parameters"] == 9
    assert model["optimizer"] == "SGD"
    assert model["run_eagerly"] is None
    assert model["jit_compile"] is None


def test_without_a_gpu_there_is_no_memory_to_tell(ran: tuple[list[Event], str]) -> None:
    assert of_type(ran[0], "tf_memory") == []


def test_a_build_is_named_by_what_the_wheel_says() -> None:
    assert describe.build_of({"is_cuda_build": True, "cuda_version": "12.5.1"}) == "cuda 12.5.1"
    assert describe.build_of({"is_cuda_build": True}) == "cuda"
    assert describe.build_of({"is_cuda_build": False, "is_rocm_build": True}) == "rocm"
    assert describe.build_of({}) == "cpu"


class Context:
    """Stands for an initialised context with GPUs, which this machine can't have."""

    def __init__(self, growth: bool, split: list[Any] | None = None) -> None:
        self._growth, self._split = growth, split

    def get_visible_devices(self, kind: str) -> list[Any]:
        return [SimpleNamespace(name=f"/physical_device:{kind}:1")]

    def list_physical_devices(self, kind: str) -> list[Any]:
        return self.get_visible_devices(kind)

    def get_memory_growth(self, device: Any) -> bool:
        return self._growth

    def get_logical_device_configuration(self, device: Any) -> list[Any] | None:
        return self._split

    def list_logical_devices(self, kind: str) -> list[Any]:
        return [SimpleNamespace(name=f"/device:{kind}:{i}") for i in range(len(self._split or [0]))]

    def get_memory_info(self, device: str) -> dict[str, int]:
        return {"current": 1000, "peak": 2000}


def test_a_memory_limit_is_reported_in_bytes_for_each_logical_device() -> None:
    context = Context(False, [SimpleNamespace(memory_limit=1024), SimpleNamespace(memory_limit=None)])
    assert memory.devices(context) == [
        {"device": "GPU:0", "current_bytes": 1000, "peak_bytes": 2000, "limit_bytes": 1024 * 1024 * 1024},
        {"device": "GPU:1", "current_bytes": 1000, "peak_bytes": 2000, "limit_bytes": None},
    ]
