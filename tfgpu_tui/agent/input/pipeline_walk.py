"""The shape of a tf.data pipeline from its Python objects: stages from source to model, with the user's functions.

Reads private attributes of the dataset classes (`_inputs()`, `_map_func`, `_batch_size`, …) in
tensorflow/python/data/ops; the same in TF 2.15 and 2.21.
"""

from __future__ import annotations

import re
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Set, Tuple

from ..hooks.user_function import Place, in_closure, place_of, reachable

PYTHON_OPS = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})
FUNCTIONS = ("_map_func", "_predicate", "_scan_func", "_reduce_func", "_key_func")
READING_OPS = frozenset({"ReadFile"})
READERS = ("TFRecord", "TextLine", "FixedLengthRecord", "Csv", "Sql")
"""Stages that read from storage themselves."""
MAX_DEPTH = 200


class Stage(NamedTuple):
    """One dataset object; sizes are None where they are unknown or only known at run time."""

    kind: str
    """The class without underscore and `Dataset`: `ParallelMap`."""
    place: Optional[Place]
    python: bool
    """True where it runs Python code for each element."""
    buffer_size: Optional[int]
    batch_size: Optional[int]
    parallelism: Optional[int]
    """As asked for; -1 is AUTOTUNE."""
    wrapping: bool
    """True for what from_generator is made of, beside the generator itself."""
    reads: bool = False
    """True where it reads files, with TensorFlow's own ops."""


def walk(dataset: Any) -> List[Stage]:
    """The stages of a dataset in the order in which data flows."""
    return list(_stages(dataset, set(), 0))


def _stages(dataset: Any, seen: Set[int], depth: int) -> Iterator[Stage]:
    if id(dataset) in seen or depth > MAX_DEPTH:
        return
    seen.add(id(dataset))
    generator = generator_of(dataset)
    inputs = dataset._inputs()
    for source in inputs:
        for stage in _stages(source, seen, depth + 1):
            yield stage._replace(wrapping=True) if generator is not None else stage
    if generator is not None:
        yield Stage("Generator", place_of(generator), True, None, None, None, False)
    yield _stage(dataset, wrapping=generator is not None)


def _stage(dataset: Any, wrapping: bool) -> Stage:
    place: Optional[Place] = None
    python = False
    reads = kind_of(dataset) in READERS
    for name in FUNCTIONS:
        wrapped = getattr(dataset, name, None)
        if wrapped is None or not hasattr(wrapped, "_func"):
            continue
        place = place_of(wrapped._func)
        functions, reads = look_inside(wrapped)
        inner = [p for p in map(place_of, functions) if p is not None]
        python = bool(inner)
        if inner:
            # The user's Python is what takes the time, not the few TensorFlow ops around it.
            place = next((p for p in inner if p.library is None), inner[0])
        break
    return Stage(
        kind=kind_of(dataset),
        place=None if wrapping else place,
        python=python and not wrapping,
        buffer_size=static_int(getattr(dataset, "_buffer_size", None)),
        batch_size=static_int(getattr(dataset, "_batch_size", None)),
        parallelism=static_int(getattr(dataset, "_num_parallel_calls", None)),
        wrapping=wrapping,
        reads=reads,
    )


def kind_of(dataset: Any) -> str:
    """`_ParallelMapDataset` -> `ParallelMap`, `TFRecordDatasetV2` -> `TFRecord`."""
    name = re.sub(r"V\d+(Adapter)?$", "", type(dataset).__name__.lstrip("_"))
    return name[: -len("Dataset")] if name.endswith("Dataset") and name != "Dataset" else name


def static_int(value: Any) -> Optional[int]:
    """The number in a tensor or a Python int; None for what is known only when the graph runs."""
    if value is None:
        return None
    numpy = getattr(value, "numpy", None)
    try:
        return int(numpy() if numpy is not None else value)
    except (TypeError, ValueError, AttributeError, NotImplementedError):
        return None


def look_inside(wrapped: Any) -> Tuple[List[Any], bool]:
    """The Python functions that a stage's traced function calls through py_function or numpy_function, and whether it
    reads files.

    The functions are known by their tokens in `script_ops._py_funcs` (tensorflow/python/ops/script_ops.py).
    """
    from tensorflow.python.ops import script_ops

    graph = wrapped.function.graph
    tokens: List[str] = []
    calls = reads = False
    for operation in graph.get_operations():
        if operation.type in PYTHON_OPS:
            tokens.append(_text(operation.get_attr("token")))
        reads = reads or operation.type in READING_OPS
        calls = calls or operation.type in ("PartitionedCall", "StatefulPartitionedCall", "If", "While", "Case")
    if calls:
        for function in graph.as_graph_def().library.function:
            tokens += [_text(n.attr["token"].s) for n in function.node_def if n.op in PYTHON_OPS]
            reads = reads or any(n.op in READING_OPS for n in function.node_def)
    functions = [script_ops._py_funcs.get(token) for token in tokens]
    return [function for function in functions if function is not None], reads


def options_of(dataset: Any) -> Dict[str, Optional[bool]]:
    """The options that decide whether stages overlap, as the script set them; None: as TensorFlow has them (on)."""
    options = dataset.options()
    return {
        "autotune": options.autotune.enabled,
        "inject_prefetch": options.experimental_optimization.inject_prefetch,
    }


def _text(token: Any) -> str:
    return token.decode() if isinstance(token, bytes) else str(token)


def generator_of(dataset: Any) -> Optional[Any]:
    """The Python generator function behind `Dataset.from_generator`; None for every other dataset.

    from_generator_op.py makes a flat_map whose function closes over a `_GeneratorState`.
    """
    function = getattr(getattr(dataset, "_map_func", None), "_func", None)
    if function is None or kind_of(dataset) != "FlatMap":
        return None
    for content in reachable(function):
        if type(content).__name__ == "_GeneratorState":
            # `user_code` times the script's generator and stands before it.
            return in_closure(content._generator, "generator") or content._generator
    return None
