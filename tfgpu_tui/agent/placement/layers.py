"""What a layer's row says besides op counts: its path, class, variables' devices, parameters, dtype.

Keras' private attributes are read here and nowhere else in the placement modules. Ran with Keras 3.15, Keras 2.15 and
tf_keras 2.21.
"""

from __future__ import annotations

import weakref
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Set, Tuple

from .names import Key, Stack, short_device

LIBRARIES = ("keras", "tf_keras", "tensorflow")


class Facts(NamedTuple):
    """What is told of a layer, without the layer."""

    name: str
    cls: str
    library: bool
    """Whether Keras itself defines its class."""
    model: bool
    variables: Dict[int, Tuple[List[str], int]]
    """Identity -> (devices, elements), sublayers' included."""
    dtype: Optional[str] = None
    policy: Optional[str] = None
    not_cudnn: Optional[List[str]] = None
    """For a recurrent layer, what of its own settings rules cuDNN's kernel out; None for others."""


class Layer:
    """A layer that may be gone by the time when it is told of."""

    def __init__(self, layer: Any) -> None:
        self.reference: Callable[[], Any] = weakref.ref(layer)
        self._known = Facts(
            str(getattr(layer, "name", "")), type(layer).__name__, is_library(layer), is_model(layer), {}
        )

    def facts(self) -> Facts:
        """As it is now; of one that is gone only what does not change."""
        layer = self.reference()
        if layer is None:
            return self._known
        return self._known._replace(
            variables={id(v): (devices_of(v), elements_of(v)) for v in variables_of(layer)},
            dtype=compute_dtype(layer),
            policy=policy_name(layer),
            not_cudnn=not_cudnn(layer),
        )


def is_library(layer: Any) -> bool:
    """True for a class that Keras itself defines."""
    return type(layer).__module__.partition(".")[0] in LIBRARIES


def is_model(layer: Any) -> bool:
    """True for keras.Model and its subclasses, Sequential and Functional included."""
    return callable(getattr(type(layer), "train_step", None)) and hasattr(type(layer), "layers")


def shown(stack: Stack, layers: Dict[Key, Facts]) -> Stack:
    """The part of a stack that the user wrote.

    What a Keras layer is made of (the cell of an LSTM, the projections in an attention) counts as that layer; a
    class of the user's inside it (the cell of an RNN) has its own row.
    """
    kept: List[Key] = []
    for key in stack:
        if kept and not isinstance(key, str) and layers[key].library:
            last = layers.get(kept[-1])
            if last is None or (last.library and not last.model):
                continue
        if not kept or kept[-1] != key:
            kept.append(key)
    return tuple(kept)


def variables_of(layer: Any) -> List[Any]:
    """The layer's weights as TensorFlow variables, sublayers' included; random seeds' state is left out, and so are
    the handles of lookup tables that Keras 2 lists among the weights (`TrackableWeightHandler`)."""
    try:
        weights = list(layer.weights)
    except ValueError:
        return []
    return [tensorflow_variable(weight) for weight in weights if hasattr(weight, "shape")]


def tensorflow_variable(weight: Any) -> Any:
    """The tf.Variable of a Keras 3 variable (`KerasVariable._value`); Keras 2's are TensorFlow's own."""
    return getattr(weight, "_value", weight)


def devices_of(variable: Any) -> List[str]:
    """Where a variable lies; each replica's copy of a distributed one (`DistributedVariable.values`)."""
    copies = getattr(variable, "values", None)
    if isinstance(copies, (tuple, list)):
        return [short_device(copy.device) for copy in copies]
    device = getattr(variable, "device", None)
    return [short_device(device)] if device else []


def elements_of(variable: Any) -> int:
    """Number of scalars in a variable; 0 where its shape isn't known."""
    return int(variable.shape.num_elements() or 0)


def own_variables(layer: Facts, nested: List[Facts]) -> Tuple[List[str], Optional[int]]:
    """Devices and number of parameters of a row's layer, without those of the rows below it."""
    below: Set[int] = {variable for other in nested for variable in other.variables}
    own = [said for variable, said in layer.variables.items() if variable not in below]
    return sorted({device for devices, _ in own for device in devices}), sum(elements for _, elements in own)


def compute_dtype(layer: Any) -> Optional[str]:
    """The dtype in which the layer computes."""
    dtype = getattr(layer, "compute_dtype", None)
    return str(dtype) if dtype else None


def policy_name(layer: Any) -> Optional[str]:
    """The dtype policy's name: `float32`, `mixed_float16`."""
    policy = getattr(layer, "dtype_policy", None)
    name = getattr(policy, "name", None)
    return str(name) if name else None


def _recurrent_layers(layer: Any) -> List[Any]:
    """The layers with a cuDNN kernel in a row: an LSTM, a GRU, both directions of a Bidirectional."""
    wrapped = [getattr(layer, name, None) for name in ("forward_layer", "backward_layer")]
    inner = [part for part in wrapped if part is not None] or [layer]
    return [part for part in inner if _kind(part) is not None or _cell_kind(part) is not None]


def _kind(layer: Any) -> Optional[str]:
    return next((c.__name__ for c in type(layer).__mro__ if c.__name__ in ("LSTM", "GRU") and _of_library(c)), None)


def _cell_kind(layer: Any) -> Optional[str]:
    """`LSTM` for RNN(LSTMCell(…)), which computes the same and never uses cuDNN."""
    if type(layer).__name__ != "RNN":
        return None
    cell = type(getattr(layer, "cell", None))
    return {"LSTMCell": "LSTM", "GRUCell": "GRU"}.get(cell.__name__) if _of_library(cell) else None


def _of_library(cls: Any) -> bool:
    return cls.__module__.partition(".")[0] in LIBRARIES


def not_cudnn(layer: Any) -> Optional[List[str]]:
    """What of a recurrent layer's settings rules out cuDNN, empty where nothing does; None for other layers."""
    parts = _recurrent_layers(layer)
    return sorted({reason for part in parts for reason in cudnn_blockers(part)}) if parts else None


def recurrent(layer: Facts, kernels: Dict[str, int], gpu: bool) -> Optional[Dict[str, Any]]:
    """Whether a recurrent layer runs on cuDNN's fused kernel: `cudnn` (None without a GPU), and what of its own
    settings rules it out (`blocked_by`, empty where nothing does). None for other layers."""
    if layer.not_cudnn is None:
        return None
    used = bool(kernels.get("cudnn")) and not kernels.get("standard")
    return {"cudnn": used if gpu or used else None, "blocked_by": layer.not_cudnn}


def cudnn_blockers(layer: Any) -> List[str]:
    """The settings because of which Keras does not call cuDNN.

    `cudnn_ok` in keras/src/backend/tensorflow/rnn.py and `LSTM.call` (Keras 3.15); `_could_use_gpu_kernel` in
    keras/src/layers/rnn/lstm.py and gru.py (Keras 2.15, tf_keras 2.21).
    """
    kind = _kind(layer)
    if kind is None:
        cell = _cell_kind(layer)
        return [f"RNN({cell}Cell) instead of {cell}"]
    wanted = {"activation": "tanh", "recurrent_activation": "sigmoid", "unroll": False, "use_bias": True}
    if kind == "GRU":
        wanted["reset_after"] = True
    found = {name: getattr(layer, name, value) for name, value in wanted.items()}
    out = []
    for name, value in found.items():
        shown = getattr(value, "__name__", value) if callable(value) else value
        if shown != wanted[name]:
            out.append(f"{name}={shown}")
    if getattr(layer, "recurrent_dropout", 0):
        out.append(f"recurrent_dropout={layer.recurrent_dropout}")
    if getattr(layer, "use_cudnn", "auto") is False:
        out.append("use_cudnn=False")
    return out
