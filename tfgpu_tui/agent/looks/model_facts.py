"""What a Keras model says of itself. Private attributes of Keras 3.15 and 2.15, tf_keras 2.21."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from ..placement.layers import elements_of, policy_name, variables_of


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
