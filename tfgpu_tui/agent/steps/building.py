"""Tells that the script builds its model: from `compile()` on, until the first step."""

from __future__ import annotations

import functools
from typing import Any

from ..hooks.keras_models import with_compile
from ..hooks.runtime import guarded, set_phase
from . import keras_loop


@guarded("building")
def _building() -> None:
    if not keras_loop.active():
        set_phase("building")


@with_compile
def _patch(cls: Any) -> None:
    original = cls.compile

    @functools.wraps(original)
    def compile_model(self: Any, *args: Any, **kwargs: Any) -> Any:
        _building()
        return original(self, *args, **kwargs)

    cls.compile = compile_model
