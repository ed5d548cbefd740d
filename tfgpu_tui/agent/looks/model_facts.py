"""What a Keras model and a dataset say of themselves. Private attributes of Keras 3.15 and 2.15, tf_keras 2.21."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from ..input.pipeline_walk import walk
from ..placement.layers import elements_of, policy_name, variables_of

ADAPTER_KINDS = {
    "TFDatasetAdapter": "tf.data",
    "DatasetAdapter": "tf.data",
    "ArrayDataAdapter": "arrays",
    "TensorLikeDataAdapter": "arrays",
    "GenericArrayLikeDataAdapter": "arrays",
    "CompositeTensorDataAdapter": "arrays",
    "ListsOfScalarsDataAdapter": "arrays",
    "GeneratorDataAdapter": "generator",
    "PyDatasetAdapter": "pydataset",
    "KerasSequenceAdapter": "pydataset",
}
"""Keras' data adapters: keras/src/trainers/data_adapters (3), keras/src/engine/data_adapter.py (2)."""


def model_fields(model: Any, optimizer: Any = None) -> Dict[str, Any]:
    """The fields of the `model` event. `optimizer` is the one seen at work where the model has none of its own."""
    variables = variables_of(model)
    own = getattr(model, "optimizer", None)
    if own is None:
        own = optimizer
    strategy = getattr(model, "distribute_strategy", None)
    return {
        "name": str(getattr(model, "name", "")),
        "cls": type(model).__name__,
        "parameters": sum(map(elements_of, variables)) if variables else None,
        "layers": len(model.layers) if hasattr(model, "layers") else None,
        "optimizer": type(own).__name__ if own is not None else None,
        "run_eagerly": _bool(getattr(model, "_run_eagerly", None)) if _compiled(model) else None,
        "jit_compile": resolved_jit_compile(model),
        "steps_per_execution": steps_per_execution(model),
        "dtype_policy": policy_name(model),
        "replicas": getattr(strategy, "num_replicas_in_sync", None),
        "jit_blockers": jit_blockers(model),
    }


def _bool(value: Any) -> bool:
    return bool(value)


def _compiled(model: Any) -> bool:
    # Keras 3: Trainer.compiled; Keras 2: Model._is_compiled.
    return bool(getattr(model, "compiled", False) or getattr(model, "_is_compiled", False))


def resolved_jit_compile(model: Any) -> Optional[bool]:
    """Whether Keras compiles with XLA, 'auto' already decided; None where the model isn't compiled for training.

    Keras 3's property decides as a side effect; the attribute behind it is set once it did. Keras 2 leaves None for no.
    """
    if not _compiled(model):
        return None
    value = getattr(model, "_jit_compile", None)
    if value is None and flavour_of(model) == "keras3":
        return None
    return bool(value)


def jit_blockers(model: Any) -> Optional[List[str]]:
    """The layers because of which `jit_compile="auto"` leaves XLA off. None in Keras 2, which has no auto.

    `model_supports_jit` in keras/src/trainers/trainer.py looks at `supports_jit` of `_flatten_layers` (Keras 3.15).
    """
    if not hasattr(model, "_flatten_layers") or not hasattr(model, "supports_jit"):
        return None
    return [str(layer.name) for layer in model._flatten_layers() if not layer.supports_jit]


def steps_per_execution(model: Any) -> Optional[int]:
    """A number in Keras 3, a variable in Keras 2 (`_steps_per_execution`)."""
    if not _compiled(model):
        return None
    value = getattr(model, "_steps_per_execution", None)
    if value is None:
        value = getattr(model, "steps_per_execution", None)
    if value is None:
        return None
    return int(value.numpy()) if hasattr(value, "numpy") else int(value)


def flavour_of(keras_object: Any) -> str:
    """keras3 | keras2 | tf_keras, from the module that the object's Keras base class lies in; none without one."""
    import sys

    for cls in type(keras_object).__mro__:
        package = cls.__module__.partition(".")[0]
        if package == "tf_keras":
            return "tf_keras"
        if package == "keras":
            version = str(getattr(sys.modules.get("keras"), "__version__", ""))
            return "keras2" if version.startswith("2") else "keras3"
    return "none"


def element_specs(dataset: Any) -> List[Any]:
    """One spec for each tensor of an element; for a distributed dataset those of the first replica."""
    from tensorflow.python.util import nest

    specs = nest.flatten(dataset.element_spec)
    # input_lib.DistributedDataset.element_spec holds PerReplicaSpecs (values.py).
    return [getattr(spec, "_value_specs", (spec,))[0] for spec in specs]


def element_fields(specs: List[Any]) -> List[Dict[str, Any]]:
    """dtype and shape of each tensor; an unknown dimension is None, an unknown rank an empty shape with `rank` None."""
    out = []
    for spec in specs:
        shape, dtype = getattr(spec, "shape", None), getattr(spec, "dtype", None)
        dims = shape.as_list() if shape is not None and shape.rank is not None else None
        out.append({"dtype": dtype.name if dtype is not None else type(spec).__name__, "shape": dims})
    return out


def undistributed(dataset: Any) -> Any:
    """The dataset that the script made, behind tf.distribute's (`input_lib.DistributedDataset._original_dataset`)."""
    return getattr(dataset, "_original_dataset", dataset)


def batch_size_of(dataset: Any, elements: List[Dict[str, Any]]) -> Optional[int]:
    """From the last batching stage, or else the static first dimension; None where neither is known."""
    try:
        sizes = [stage.batch_size for stage in walk(dataset) if stage.batch_size is not None]
    except (AttributeError, NotImplementedError):
        sizes = []
    if sizes:
        return sizes[-1]
    first = next((element["shape"][0] for element in elements if element["shape"]), None)
    return int(first) if first is not None else None


def dataset_fields(dataset: Any) -> Dict[str, Any]:
    """`elements` and `batch_size` of the `dataset` event."""
    dataset = undistributed(dataset)
    elements = element_fields(element_specs(dataset))
    return {"elements": elements, "batch_size": batch_size_of(dataset, elements)}


def adapter_kind(adapter: Any) -> str:
    """What the script gave to fit, from Keras' own choice of an adapter."""
    return ADAPTER_KINDS.get(type(adapter).__name__, "custom")
