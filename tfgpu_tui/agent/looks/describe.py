"""Says what runs: python and TensorFlow, the model and the dataset.

Nothing here initialises TensorFlow: what needs its context is asked for only once the script initialised it.
"""

from __future__ import annotations

import functools
import os
import sys
from types import ModuleType
from typing import Any, Callable, Dict, Optional

from ..hooks.keras_models import WITH_FIT, classes_with
from ..hooks.runtime import after_execution, found, guarded, on_import, send, send_latest
from ..hooks.tf_context import initialised_context
from ..input import dataset_facts, pipeline, pipeline_user
from ..memory import gpu_identity
from ..placement import placement_record
from ..steps import keras_loop, windows
from . import model_facts

DATA_HANDLERS = ("keras.src.engine.data_adapter", "tf_keras.src.engine.data_adapter")


class _State:
    def __init__(self) -> None:
        self.gpus_told = False
        self.trained = False
        self.dataset: Optional[Dict[str, Any]] = None
        """The training's, until its first step."""
        self.calls_before: pipeline_user.Calls = {}
        self.models: Dict[int, Dict[str, Any]] = {}


_state = _State()


# -- environment


def build_of(build_info: Any) -> str:
    """`cuda 12.5.1`, `rocm` or `cpu`, from tensorflow/python/platform/build_info.py; any key may be missing."""
    if build_info.get("is_cuda_build"):
        version = build_info.get("cuda_version")
        return f"cuda {version}" if version else "cuda"
    return "rocm" if build_info.get("is_rocm_build") else "cpu"


@on_import("tensorflow")
def _tensorflow(module: ModuleType) -> None:
    info = sys.modules.get("tensorflow.python.platform.build_info")
    send(
        "environment",
        python=".".join(map(str, sys.version_info[:3])),
        tensorflow=str(module.__version__),
        tensorflow_build=build_of(info.build_info) if info is not None else None,
        visible_devices=os.environ.get("CUDA_VISIBLE_DEVICES"),
    )


@after_execution
def _keras(model: Any, phase: str, steps: int) -> None:
    flavour = model_facts.flavour_of(model if model is not None else placement_record.root_model())
    package = sys.modules.get("tf_keras" if flavour == "tf_keras" else "keras")
    version = getattr(package, "__version__", None) if flavour != "none" else None
    backend = None
    if flavour == "keras3" and package is not None:
        backend = str(package.config.backend())
    elif flavour != "none":
        backend = "tensorflow"
    # The script may have given cores away, or was given fewer than the machine has.
    cpus = sorted(os.sched_getaffinity(0))
    send_latest(
        "environment",
        key="keras",
        keras=version,
        keras_flavour=flavour,
        backend=backend,
        cpus=cpus,
        cpu_count=len(cpus),
    )


@after_execution
def _gpus(model: Any, phase: str, steps: int) -> None:
    context = None if _state.gpus_told else initialised_context()
    if context is None:
        return
    _state.gpus_told = True
    send(
        "environment",
        tf_gpus=gpu_identity.identities(context),
        physical_gpus=gpu_identity.found_by_tensorflow(context),
    )


# -- model


@after_execution
def _model(model: Any, phase: str, steps: int) -> None:
    if phase == "train":
        _state.trained = True
    elif _state.trained:
        return  # what is predicted with, or tested, is often a part of what was trained
    if model is None:
        model = placement_record.root_model()
    if model is not None:
        _tell_model(model)


@guarded("describe.model")
def _tell_model(model: Any) -> None:
    fields = model_facts.model_fields(model, placement_record.last_optimizer())
    if _state.models.get(id(model)) != fields:
        _state.models = {id(model): fields}
        send_latest("model", key=fields["name"], **fields)


def _before_training(module: ModuleType) -> None:
    """`make_train_function` is called in every fit, once the model is compiled (Keras 2 and 3)."""
    known = classes_with("make_train_function", module, (*WITH_FIT, "Model"))
    for cls in found(f"make_train_function in {module.__name__}", known):
        cls.make_train_function = _telling(cls.make_train_function)


def _telling(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def make_train_function(self: Any, *args: Any, **kwargs: Any) -> Any:
        made = original(self, *args, **kwargs)
        _tell_model(self)
        return made

    return make_train_function


for _name in ("keras.src.backend.tensorflow.trainer", "keras.src.engine.training", "tf_keras.src.engine.training"):
    on_import(_name)(_before_training)


# -- dataset


@guarded("describe.dataset")
def _tell_dataset(
    kind: str, dataset: Any, phase: str, batch_size: Any, batches: Any, workers: Any, processes: Optional[bool]
) -> None:
    pipeline.feeds(dataset, phase, counted=batches is not None and batches > 0)
    fields = {
        "kind": kind,
        "phase": phase,
        "workers": workers,
        "processes": processes,
        **dataset_facts.dataset_fields(dataset),
    }
    fields["batches"] = int(batches) if batches is not None and batches >= 0 else None
    if isinstance(batch_size, int) and batch_size > 0:
        fields["batch_size"] = batch_size
    if phase == "train":
        _state.dataset = fields
    send_latest("dataset", key=phase, **fields)


@after_execution
def _first_batch(model: Any, phase: str, steps: int) -> None:
    """A generator's batch size shows only in its first batch (`user_code` looks at it)."""
    known, _state.dataset = _state.dataset, None
    if phase != "train" or known is None or known["batch_size"] is not None:
        return
    seen = [entry["elements"] for entry in pipeline_user.called_since(_state.calls_before) if entry["elements"]]
    if len(seen) == 1 and seen[0][0]["shape"]:
        send_latest("dataset", key="train", **{**known, "elements": seen[0], "batch_size": seen[0][0]["shape"][0]})


def phase_of_caller(frame: Any) -> str:
    """`train`, `test` or `predict`, from the Keras method that makes the iterator; validation within fit is `test`."""
    name = frame.f_code.co_name
    if name in ("evaluate", "predict"):
        return "test" if name == "evaluate" else "predict"
    if name == "fit":
        return "test" if keras_loop.runs_in(frame) else "train"
    return "train"


@on_import("keras.src.backend.tensorflow.trainer")
def _epoch_iterators(module: ModuleType) -> None:
    """Keras 3: every fit, evaluate and predict makes a TFEpochIterator."""
    cls = module.TFEpochIterator
    original = cls.__init__

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        before = pipeline_user.user_calls()
        original(self, *args, **kwargs)
        _describe_keras3(self, sys._getframe(1), before)

    cls.__init__ = __init__


@guarded("describe.dataset")
def _describe_keras3(iterator: Any, frame: Any, before: pipeline_user.Calls) -> None:
    adapter = iterator.data_adapter
    _state.calls_before = before
    source = getattr(adapter, "py_dataset", None)
    batches = iterator.steps_per_epoch or iterator._num_batches
    phase = phase_of_caller(frame)
    if phase == "train":
        windows.mean_batch = dataset_facts.mean_batch(adapter)
    _tell_dataset(
        dataset_facts.adapter_kind(adapter),
        iterator._distributed_dataset,
        phase,
        dataset_facts.adapter_batch_size(adapter),
        batches,
        getattr(source, "workers", None),
        getattr(source, "use_multiprocessing", None),
    )


def _data_handlers(module: ModuleType) -> None:
    """Keras 2: every fit, evaluate and predict makes a DataHandler."""
    cls = module.DataHandler
    original = cls.__init__

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        before = pipeline_user.user_calls()
        original(self, *args, **kwargs)
        if type(self) is cls:
            _describe_keras2(self, kwargs, sys._getframe(1), before)

    cls.__init__ = __init__


@guarded("describe.dataset")
def _describe_keras2(handler: Any, kwargs: Dict[str, Any], frame: Any, before: pipeline_user.Calls) -> None:
    # Between the two stands get_data_handler.
    caller = frame.f_back if frame.f_code.co_name == "get_data_handler" else frame
    phase = phase_of_caller(caller)
    _state.calls_before = before
    adapter = handler._adapter
    kind = dataset_facts.adapter_kind(adapter)
    if phase == "train":
        windows.mean_batch = dataset_facts.mean_batch(adapter)
    asked = kwargs if kind in ("generator", "pydataset") else {}
    _tell_dataset(
        kind,
        handler._dataset,
        phase,
        dataset_facts.adapter_batch_size(adapter),
        handler._inferred_steps,
        asked.get("workers"),
        asked.get("use_multiprocessing"),
    )


for _name in DATA_HANDLERS:
    on_import(_name)(_data_handlers)
