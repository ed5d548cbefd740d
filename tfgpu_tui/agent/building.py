"""Tells that the script builds its model: from `compile()` on, until the first step."""

from __future__ import annotations

import functools
from typing import Any

from . import keras_loop
from .runtime import guarded, on_import, set_phase


@guarded("building")
def _building() -> None:
    if not keras_loop.active():
        set_phase("building")


def _patch(cls: Any) -> None:
    original = cls.compile

    @functools.wraps(original)
    def compile_model(self: Any, *args: Any, **kwargs: Any) -> Any:
        _building()
        return original(self, *args, **kwargs)

    cls.compile = compile_model


@on_import("keras.src.trainers.trainer")
def _keras3(module: Any) -> None:
    _patch(module.Trainer)


@on_import("keras.src.engine.training")
def _keras2(module: Any) -> None:
    _patch(module.Model)


@on_import("tf_keras.src.engine.training")
def _tf_keras(module: Any) -> None:
    _patch(module.Model)
