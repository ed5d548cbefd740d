"""Knobs jit_compile, run_eagerly and steps_per_execution: Keras' `compile` gets them in place of the script's own.

`Trainer.compile` in keras/src/trainers/trainer.py (Keras 3.3 to 3.15), `Model.compile` in keras/src/engine/training.py
(Keras 2.15, tf_keras 2.21); for loops of the script's own `run_functions_eagerly` in
tensorflow/python/eager/polymorphic_function/eager_function_run.py (TF 2.15 to 2.21).
"""

from __future__ import annotations

import functools
import inspect
import sys
from types import FrameType
from typing import Any, Dict, Optional, Tuple

from ..hooks.keras_models import with_compile
from ..hooks.runtime import asked_knobs, guarded, on_import
from ..looks import script_calls

WORDS = {"on": True, "off": False}


def asked() -> Dict[str, Any]:
    """The arguments of `compile` that were asked for."""
    knobs = asked_knobs()
    out: Dict[str, Any] = {name: WORDS[knobs[name]] for name in ("jit_compile", "run_eagerly") if name in knobs}
    if "steps_per_execution" in knobs:
        out["steps_per_execution"] = int(knobs["steps_per_execution"])
    return out


@guarded("knob_compile")
def _changed(
    original: Any, model: Any, args: Tuple[Any, ...], kwargs: Dict[str, Any], frame: Optional[FrameType]
) -> "Optional[Tuple[Tuple[Any, ...], Dict[str, Any]]]":
    """The call's arguments with those that were asked for; None where the call itself is wrong."""
    try:
        bound = inspect.signature(original).bind(model, *args, **kwargs)
    except TypeError:
        return None
    for name, value in asked().items():
        if name in bound.arguments and bound.arguments[name] != value:
            script_calls.note(f"compile {name}", bound.arguments[name], frame)
        bound.arguments[name] = value
    return bound.args[1:], bound.kwargs


@with_compile
def _patch(cls: Any) -> None:
    original = cls.compile

    @functools.wraps(original)
    def compile_model(self: Any, *args: Any, **kwargs: Any) -> Any:
        changed = _changed(original, self, args, kwargs, sys._getframe(1))
        if changed is not None:
            args, kwargs = changed
        return original(self, *args, **kwargs)

    cls.compile = compile_model


@on_import("tensorflow.python.eager.polymorphic_function.eager_function_run")
def _functions(module: Any) -> None:
    """tf.config.run_functions_eagerly: as asked, whatever the script says of it."""
    wanted = asked().get("run_eagerly")
    if wanted is None:
        return
    original = module.run_functions_eagerly

    @functools.wraps(original)
    def run_functions_eagerly(run_eagerly: Any) -> Any:
        return original(wanted)

    module.run_functions_eagerly = run_functions_eagerly
    original(wanted)
