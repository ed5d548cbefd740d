"""The last moment before TensorFlow starts its devices: settings that were asked for are applied there.

Earlier the script could not set its own any more (a memory limit makes `set_memory_growth` raise); later they are
frozen. `Context._initialize_physical_devices` (the GPUs are listed) and `Context.ensure_initialized` (they are
started) in tensorflow/python/eager/context.py, TF 2.15 to 2.21.
"""

from __future__ import annotations

import functools
import os
from typing import Any, Callable, Dict, List, Optional

from .runtime import guarded, on_import

BeforeInit = Callable[[Any], None]

_todo: List[BeforeInit] = []
_variables: Dict[str, Dict[str, str]] = {}


def before_init(hook: str) -> Callable[[BeforeInit], BeforeInit]:
    """Decorator: `function(context)` runs once, on the thread that starts TensorFlow, just before it does."""

    def register(function: BeforeInit) -> BeforeInit:
        _todo.append(guarded(hook)(function))
        return function

    return register


def variable_at(moment: str, name: str) -> Optional[str]:
    """An environment variable as it was when TensorFlow listed its GPUs (`listed`) or started them (`started`); now,
    where that was not seen."""
    return _variables.get(moment, os.environ).get(name)


def _once(cls: Any, name: str, moment: str, then: Callable[[Any], None]) -> None:
    original = getattr(cls, name)

    @functools.wraps(original)
    def first_call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if moment not in _variables:
            setattr(cls, name, original)
            _note_variables(moment)
            then(self)
        return original(self, *args, **kwargs)

    setattr(cls, name, first_call)


@guarded("before_init.variables")
def _note_variables(moment: str) -> None:
    _variables[moment] = dict(os.environ)


def _apply(context: Any) -> None:
    for function in _todo:
        function(context)


def _nothing(context: Any) -> None:
    """The GPUs are only listed: there is nothing to apply yet."""


@on_import("tensorflow.python.eager.context")
def _watch(module: Any) -> None:
    _once(module.Context, "_initialize_physical_devices", "listed", _nothing)
    _once(module.Context, "ensure_initialized", "started", _apply)
