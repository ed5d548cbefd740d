"""Which settings are really in force, read back from TensorFlow after the first step (event `knobs`).

Every knob has a reader here, whether it was asked for or not, so that the screen can show what a run has now. A reader
gives the value in the knob's own words, or None with the reason. Nothing here starts TensorFlow.
"""

from __future__ import annotations

import functools
import os
import sys
import weakref
from typing import Any, Callable, Dict, List, NamedTuple, Optional

from ..hooks.before_init import variable_at
from ..hooks.runtime import after_execution, asked_knobs, guarded, on_import, send
from ..hooks.tf_context import initialised_context
from ..looks import model_facts, script_calls
from ..memory import gpu_identity
from ..placement import placement_record
from ..placement.layers import policy_name

MAX_MODELS = 8
NO_GPU = "no GPU visible"


class Found(NamedTuple):
    """What a reader found."""

    value: Optional[str]
    note: Optional[str] = None
    """Why it is unknown, or what a person should know."""
    script: Optional[str] = None
    """What the script itself set, and where, when that is something else than what is in force or was asked for."""


Reader = Callable[[Any, Any], Found]
"""(TensorFlow's initialised context, the model or None) -> what is in force."""

_readers: Dict[str, Reader] = {}
_told: "List[tuple[Callable[[], Any], bool, Dict[str, Found]]]" = []
"""The model (weakly), whether it trained, what was said of it."""


def reader(name: str) -> Callable[[Reader], Reader]:
    """Decorator: the function reads the knob of that name."""

    def register(function: Reader) -> Reader:
        _readers[name] = guarded(f"knob {name}", Found(None, "it could not be read"))(function)
        return function

    return register


@after_execution
def _tell(model: Any, phase: str, steps: int) -> None:
    context = initialised_context()
    if model is None:
        model = placement_record.root_model()
    trains = phase == "train"
    known = any(trained == trains and same() is model for same, trained, _ in _told)
    if context is None or known or len(_told) >= MAX_MODELS:
        return
    found = {name: read(context, model) for name, read in _readers.items()}
    if all(found != said for _, _, said in _told):
        tell(found)
    _told.append((_nothing if model is None else weakref.ref(model), trains, found))


def _nothing() -> None:
    """In place of a reference to a model, where there is none."""


def tell(found: Dict[str, Found]) -> None:
    """Send what was found of these knobs; other knobs keep what was said of them."""
    send(
        "knobs",
        in_force={name: one.value for name, one in found.items()},
        notes={name: one.note for name, one in found.items() if one.note is not None},
        script={name: one.script for name, one in found.items() if one.script is not None},
    )


# -- the GPU


@reader("memory_growth")
def growth(context: Any, model: Any) -> Found:
    """TF_FORCE_GPU_ALLOW_GROWTH overrides the script in both directions, where it is exactly `true` or `false`
    (GetAllowGrowthValue in tensorflow/core/common_runtime/gpu/gpu_bfc_allocator.cc)."""
    call = script_calls.last_call("set_memory_growth")
    variable = variable_at("started", "TF_FORCE_GPU_ALLOW_GROWTH")
    changed = script_calls.changed_by_script("TF_FORCE_GPU_ALLOW_GROWTH", variable)
    said = changed or (call.text if call is not None else None)
    gpus = gpu_identity.physical_gpus(context)
    if not gpus:
        return Found(None, f"{NO_GPU}: nothing to grow", said)
    if variable_at("started", "TF_GPU_ALLOCATOR") == "cuda_malloc_async":
        return Found(None, "the allocator cuda_malloc_async takes memory as it needs it: growth is not used", said)
    refused = f"{call.text} came too late: {call.error}" if call is not None and call.error else None
    if variable in ("true", "false"):
        return Found("on" if variable == "true" else "off", refused, said)
    values: List[Any] = [context.get_memory_growth(gpu) for gpu in gpus]
    if any(context.get_logical_device_configuration(gpu) for gpu in gpus):
        return Found(None, "the GPUs have memory limits: each reserves its limit", said)
    return Found("on" if any(values) else "off", refused, said)


@reader("gpu_memory_limit")
def limit(context: Any, model: Any) -> Found:
    """From the logical devices that TensorFlow was started with."""
    call = script_calls.last_call("set_logical_device_configuration")
    said = call.text if call is not None else None
    gpus = gpu_identity.physical_gpus(context)
    if not gpus:
        return Found(None, f"{NO_GPU}: nothing to limit", None)
    limits = [
        [getattr(part, "memory_limit", None) for part in context.get_logical_device_configuration(gpu) or ()]
        for gpu in gpus
    ]
    if any(len(parts) > 1 for parts in limits):
        return Found(None, "the script splits a GPU into several logical devices: their limits stay its own", said)
    values = {str(int(part)) for parts in limits for part in parts if part is not None}
    if not values:
        return Found("no limit", None, said)
    return Found(values.pop(), None, said) if len(values) == 1 else Found(None, "the GPUs have different limits", said)


def _by_variable(context: Any, variable: str, default: str, what: str) -> Found:
    value = variable_at("started", variable)
    said = script_calls.changed_by_script(variable, value)
    if not gpu_identity.physical_gpus(context):
        return Found(None, f"{NO_GPU}: {what}", said)
    return Found(value or default, "as the environment was when TensorFlow started: it has no way to ask", said)


@reader("allocator")
def allocator(context: Any, model: Any) -> Found:
    """TF_GPU_ALLOCATOR; what TensorFlow made of it shows in its log alone."""
    return _by_variable(context, "TF_GPU_ALLOCATOR", "bfc", "no GPU memory to hand out")


@reader("gpu_thread_mode")
def gpu_thread_mode(context: Any, model: Any) -> Found:
    """TF_GPU_THREAD_MODE; TensorFlow's default is `global`."""
    return _by_variable(context, "TF_GPU_THREAD_MODE", "global", "no threads that launch work on one")


@reader("visible_devices")
def visible_devices(context: Any, model: Any) -> Found:
    """CUDA_VISIBLE_DEVICES when TensorFlow listed its GPUs, and how many it lists."""
    value = variable_at("listed", "CUDA_VISIBLE_DEVICES")
    said = script_calls.changed_by_script("CUDA_VISIBLE_DEVICES", value)
    call = script_calls.last_call("set_visible_devices")
    count = len(gpu_identity.physical_gpus(context))
    hidden = len(context.list_physical_devices("GPU")) - count
    note = f"TensorFlow uses {count} GPU{'s' * (count != 1)}" + (
        f", {hidden} more hidden by the script" if hidden else ""
    )
    if value is None:
        return Found("all", note, said or (call.text if call is not None and hidden else None))
    return Found("none" if value in ("", "-1") else value, note, said or (call.text if call and hidden else None))


# -- the CPU


@reader("threads")
def threads(context: Any, model: Any) -> Found:
    """TensorFlow's own configuration; 0 there means that it chooses, by variables or the number of CPUs
    (process_util.cc and local_device.cc in tensorflow/core/common_runtime)."""
    pairs = (
        (context.intra_op_parallelism_threads, "TF_NUM_INTRAOP_THREADS", "set_intra_op_parallelism_threads"),
        (context.inter_op_parallelism_threads, "TF_NUM_INTEROP_THREADS", "set_inter_op_parallelism_threads"),
    )
    parts = [str(value or variable_at("started", variable) or "default") for value, variable, _ in pairs]
    calls = [call.text for call in (script_calls.last_call(name) for _, _, name in pairs) if call is not None]
    return Found(parts[0] if parts[0] == parts[1] else "/".join(parts), None, ", ".join(calls) or None)


# -- Keras


@reader("jit_compile")
def jit_compile(context: Any, model: Any) -> Found:
    """As Keras resolved it."""
    value = model_facts.resolved_jit_compile(model) if model is not None else None
    if value is None:
        return Found(None, _no_keras("jit_compile"))
    return Found("on" if value else "off", None, _compiled_with("jit_compile"))


@reader("run_eagerly")
def run_eagerly(context: Any, model: Any) -> Found:
    """The model's, or TensorFlow's switch for all functions."""
    functions = sys.modules.get("tensorflow.python.eager.polymorphic_function.eager_function_run")
    call = script_calls.last_call("run_functions_eagerly")
    said = _compiled_with("run_eagerly") or (call.text if call is not None else None)
    if functions is not None and functions.functions_run_eagerly():
        return Found("on", None, said)
    if model is not None and getattr(model, "optimizer", None) is not None:
        return Found("on" if model.run_eagerly else "off", None, said)
    return Found("off", "TensorFlow's functions run as graphs; a loop without tf.function is eager all the same", said)


@reader("steps_per_execution")
def steps_per_execution(context: Any, model: Any) -> Found:
    """As the model was compiled."""
    value = model_facts.steps_per_execution(model) if model is not None else None
    if value is None:
        return Found(None, _no_keras("steps_per_execution"))
    return Found(str(value), None, _compiled_with("steps_per_execution"))


def _no_keras(name: str) -> str:
    return "no compiled Keras model: the loop is the script's own" + (
        f", and {name} can't be set in it from outside" if name in asked_knobs() else ""
    )


def _compiled_with(name: str) -> Optional[str]:
    call = script_calls.last_call(f"compile {name}")
    return call.text if call is not None else None


@reader("precision")
def precision(context: Any, model: Any) -> Found:
    """Keras' global policy, and how many layers have another one."""
    flavour = model_facts.flavour_of(model) if model is not None else "none"
    if flavour == "none":
        return Found(None, "no Keras model was seen")
    keras = sys.modules["tf_keras" if flavour == "tf_keras" else "keras"]
    policy = keras.config.dtype_policy() if flavour == "keras3" else keras.mixed_precision.global_policy()
    # Keras 2.15, tf_keras 2.21, Keras 3.3 to 3.15; an input layer has a policy, too, but nothing to compute.
    layers = [layer for layer in model._flatten_layers(include_self=False) if layer.weights]
    other = sum(policy_name(layer) not in (None, policy.name) for layer in layers)
    call = script_calls.last_call("set_global_policy")
    note = f"{other} of {len(layers)} layers with weights have a policy of their own" if other else None
    return Found(str(policy.name), note, call.text if call is not None else None)


def _policy_call(module: Any, name: str, said: str) -> None:
    original = getattr(module, name)

    @functools.wraps(original)
    def call(value: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(value, *args, **kwargs)
        script_calls.note(said, getattr(value, "name", value), sys._getframe(1))
        return result

    setattr(module, name, call)


@on_import("keras.src.dtype_policies.dtype_policy")
def _keras3_policy(module: Any) -> None:
    _policy_call(module, "set_dtype_policy", "set_global_policy")


def _keras2_policy(module: Any) -> None:
    _policy_call(module, "set_global_policy", "set_global_policy")


for _name in ("keras.src.mixed_precision.policy", "tf_keras.src.mixed_precision.policy"):
    on_import(_name)(_keras2_policy)


# -- libraries


@reader("library_path")
def library_path(context: Any, model: Any) -> Found:
    """LD_LIBRARY_PATH as the process was started with it (the loader reads it then), and CUDA libraries from there."""
    value = script_calls.launched_with("LD_LIBRARY_PATH")
    folders = [folder for folder in (value or "").split(":") if folder]
    if not folders:
        asked = asked_knobs().get("library_path") is not None
        return Found("not set", "no installed nvidia-* package with libraries was found" if asked else None)
    loaded = _loaded_from(folders)
    return Found(value, f"loaded from there: {', '.join(loaded)}" if loaded else "no library was loaded from there")


def _loaded_from(folders: List[str]) -> List[str]:
    wanted = {os.path.realpath(folder) for folder in folders}
    found = set()
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
        for line in file:
            path = line.split(maxsplit=5)[-1].strip() if "/" in line else ""
            if ".so" in path and os.path.dirname(os.path.realpath(path)) in wanted:
                found.add(os.path.basename(path))
    return sorted(found)[:10]
