"""What the optimizer updates: its variables and settings, and the tables of which a step touches a few rows only.

Noted when an update is traced; nothing of it is kept. Private of Keras: `_trainable_variables` (Keras 3.15) and
`_variables` (the slots; Keras 2.15, tf_keras 2.21), both on the optimizer. The gradient of a lookup is an
`IndexedSlices` whose indices are the ids, reshaped to one axis (`_GatherV2Grad` in
tensorflow/python/ops/array_grad.py, `_GatherGrad` in resource_variable_ops.py; TensorFlow 2.15 to 2.21).
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence, Tuple

from ..hooks.runtime import guarded, send_latest
from .layers import elements_of, tensorflow_variable

HOOK = "updates"
MAX_SPARSE = 16


@guarded(HOOK)
def applied(optimizer: Any, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> None:
    """After `Optimizer.apply` or `.apply_gradients` was traced. What can be read once only (a zip) is not looked at."""
    pairs = _pairs(optimizer, *args, **kwargs)
    if not pairs:
        return
    slots = [_shape(variable) for variable in _own_variables(optimizer)]
    variables = [variable for _, variable in pairs]
    send_latest(
        "optimizer",
        key=str(getattr(optimizer, "name", "")),
        name=str(getattr(optimizer, "name", "")),
        cls=type(optimizer).__name__,
        variables=len(variables),
        parameters=sum(elements_of(tensorflow_variable(variable)) for variable in variables),
        global_clipnorm=_number(getattr(optimizer, "global_clipnorm", None)),
        sparse=[row for pair in pairs for row in _sparse(*pair, slots)][:MAX_SPARSE],
    )


def _pairs(
    optimizer: Any, grads: Any = None, trainable_variables: Any = None, grads_and_vars: Any = None, **_: Any
) -> List[Tuple[Any, Any]]:
    """(gradient, variable), without variables that have no gradient; empty where they can't be seen."""
    if hasattr(optimizer, "apply"):  # Keras 3
        variables = trainable_variables
        if variables is None:
            variables = getattr(optimizer, "_trainable_variables", None)
        both = _known(grads), _known(variables)
        found = list(zip(*both)) if len(both[0]) == len(both[1]) else []
    else:
        found = list(_known(grads if grads_and_vars is None else grads_and_vars))
    return [(pair[0], pair[1]) for pair in found if len(pair) == 2 and pair[0] is not None]


def _known(values: Any) -> Sequence[Any]:
    return values if isinstance(values, (list, tuple)) else ()


def _own_variables(optimizer: Any) -> Sequence[Any]:
    """The optimizer's own variables: its slots, and a few scalars."""
    found = getattr(optimizer, "_variables", None)
    return _known(found) or _known(getattr(optimizer, "variables", None))


def _shape(variable: Any) -> Tuple[int, ...]:
    shape = getattr(tensorflow_variable(variable), "shape", None)
    if shape is None:
        return ()
    return tuple(shape.as_list() if hasattr(shape, "as_list") else shape)


def _sparse(gradient: Any, variable: Any, slots: List[Tuple[int, ...]]) -> List[Dict[str, Any]]:
    """A row for a table whose gradient names the rows that it is of; none for others."""
    from tensorflow.python.framework.indexed_slices import IndexedSlices

    shape = _shape(variable)
    if not isinstance(gradient, IndexedSlices) or not shape or shape[0] is None:
        return []
    elements, (touched, each) = elements_of(tensorflow_variable(variable)), _touched(gradient.indices)
    return [
        {
            "variable": str(getattr(variable, "path", None) or getattr(variable, "name", "")),
            "rows": shape[0],
            "elements": elements,
            "touched": touched,
            "touched_each": each,
            "slots": slots.count(shape),
        }
    ]


def _touched(indices: Any) -> Tuple[Optional[int], Optional[int]]:
    """How many rows a step looks up, a row twice where its id comes twice; or how many an example does, where the
    batch has no fixed size. None where neither is known."""
    known = indices.shape.num_elements()
    if known is not None:
        return int(known), None
    op = getattr(indices, "op", None)
    shape = op.inputs[0].shape if op is not None and op.type == "Reshape" else None
    if shape is None or shape.rank is None or shape.rank < 1 or shape[0] is not None:
        return None, None
    each = shape[1:].num_elements()
    return None, None if each is None else int(each)


def _number(value: Any) -> Optional[float]:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
