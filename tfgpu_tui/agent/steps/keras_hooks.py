"""Patches Keras' CallbackList, in all its versions, so that `keras_loop` hears of every loop and epoch.

`keras.src.callbacks.callback_list` (Keras 3.3 to 3.15), `keras.src.callbacks` (Keras 2.15), `tf_keras.src.callbacks`
(2.21). A wrapper calls the original whatever happens to our own part of it.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

from ..hooks.runtime import guarded, on_import
from . import keras_loop
from .keras_sums import HOOK


def _patch_loop(cls: Any, phase: str) -> None:
    begin, end = getattr(cls, f"on_{phase}_begin"), getattr(cls, f"on_{phase}_end")

    @functools.wraps(begin)
    def on_begin(self: Any, *args: Any, **kwargs: Any) -> Any:
        keras_loop.begin(self, phase, id(sys._getframe(1)))
        return begin(self, *args, **kwargs)

    @functools.wraps(end)
    def on_end(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return end(self, *args, **kwargs)
        finally:
            keras_loop.end(self, phase)

    setattr(cls, f"on_{phase}_begin", on_begin)
    setattr(cls, f"on_{phase}_end", on_end)


def _patch_epochs(cls: Any) -> None:
    begin, end = cls.on_epoch_begin, cls.on_epoch_end

    @functools.wraps(begin)
    def on_epoch_begin(self: Any, epoch: Any, *args: Any, **kwargs: Any) -> Any:
        _epoch_begins(self, epoch)
        return begin(self, epoch, *args, **kwargs)

    @functools.wraps(end)
    def on_epoch_end(self: Any, epoch: Any, *args: Any, **kwargs: Any) -> Any:
        _flush_epoch(self)
        try:
            return end(self, epoch, *args, **kwargs)
        finally:
            _epoch_ended(self, args[0] if args else kwargs.get("logs"))

    cls.on_epoch_begin, cls.on_epoch_end = on_epoch_begin, on_epoch_end


@guarded(HOOK)
def _epoch_begins(owner: Any, epoch: Any) -> None:
    loop = keras_loop.current(owner, "train")
    if loop is not None:
        loop.epoch_begins(epoch)


@guarded(HOOK)
def _flush_epoch(owner: Any) -> None:
    loop = keras_loop.current(owner, "train")
    if loop is not None:
        loop.emit()


@guarded(HOOK)
def _epoch_ended(owner: Any, logs: Any) -> None:
    loop = keras_loop.current(owner, "train")
    if loop is not None:
        loop.epoch_ended(logs)


def _patch(module: Any) -> None:
    cls: Any = module.CallbackList
    for phase in keras_loop.PHASES:
        _patch_loop(cls, phase)
    _patch_epochs(cls)


@on_import("keras.src.callbacks.callback_list")
def _keras3(module: Any) -> None:
    _patch(module)


@on_import("keras.src.callbacks")
def _keras2(module: Any) -> None:
    if not hasattr(module, "__path__"):  # Keras 3 has a package of this name
        _patch(module)


@on_import("tf_keras.src.callbacks")
def _tf_keras(module: Any) -> None:
    _patch(module)
