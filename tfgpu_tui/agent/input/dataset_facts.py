"""What a dataset says of itself. Private attributes of TensorFlow 2.15 to 2.21 and of Keras 2.15 to 3.15."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from .pipeline_walk import walk

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


def adapter_batch_size(adapter: Any) -> Optional[int]:
    """Keras' own idea of it; None where it has none, or can't tell it: of a dataset that the script distributed itself
    it asks a `PerReplicaSpec` for its shape (`TFDatasetAdapter.batch_size`, Keras 3.15)."""
    try:
        size: Any = adapter.batch_size
        known: Optional[int] = size() if callable(size) else size
        return known
    except AttributeError:
        return None


def mean_batch(adapter: Any) -> Optional[float]:
    """Examples in a batch, on average over an epoch: its last one may be smaller. None where Keras does not know.

    `num_batches`, `has_partial_batch` and `partial_batch_size` in keras/src/trainers/data_adapters/data_adapter.py
    (3.15); `get_size` and methods of these names in keras/src/engine/data_adapter.py (2.15).
    """
    size = adapter_batch_size(adapter)
    if not isinstance(size, int) or size < 1:
        return None
    names = (
        "num_batches" if hasattr(adapter, "num_batches") else "get_size",
        "has_partial_batch",
        "partial_batch_size",
    )
    told = [getattr(adapter, name, None) for name in names]
    batches, partial, last = [value() if callable(value) else value for value in told]
    if not (partial and last and batches):
        return float(size)
    return ((int(batches) - 1) * size + int(last)) / int(batches)
