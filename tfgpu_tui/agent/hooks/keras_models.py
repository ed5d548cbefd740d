"""Where Keras' model classes are, in all its flavours: one patch for each of them.

`keras.src.trainers.trainer.Trainer` (compile) and `keras.src.backend.tensorflow.trainer.TensorFlowTrainer` (fit,
train_on_batch) in Keras 3.3 to 3.15; `engine.training.Model` in Keras 2.15 and tf_keras 2.21.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .runtime import on_import

PatchClass = Callable[[Any], None]


def with_compile(patch: PatchClass) -> PatchClass:
    """Decorator: `patch(cls)` for each class that defines `compile`, as it is imported."""
    return _register(patch, "keras.src.trainers.trainer", "Trainer")


def with_fit(patch: PatchClass) -> PatchClass:
    """Decorator: `patch(cls)` for each class that defines `fit` and `train_on_batch`, as it is imported."""
    return _register(patch, "keras.src.backend.tensorflow.trainer", "TensorFlowTrainer")


def _register(patch: PatchClass, keras3_module: str, keras3_class: str) -> PatchClass:
    for module_name, class_name in (
        (keras3_module, keras3_class),
        ("keras.src.engine.training", "Model"),
        ("tf_keras.src.engine.training", "Model"),
    ):

        def patch_module(module: Any, class_name: str = class_name) -> None:
            patch(getattr(module, class_name))

        # A hook is named by its module and function (`runtime.on_import`).
        patch_module.__module__, patch_module.__name__ = patch.__module__, patch.__name__
        on_import(module_name)(patch_module)
    return patch
