"""Where Keras' model classes are, in all its flavours: one patch for each of them.

`keras.src.trainers.trainer.Trainer` (compile) and `keras.src.backend.tensorflow.trainer.TensorFlowTrainer` (fit,
train_on_batch) in Keras 3.3 to 3.15, `BaseTrainer` and `Trainer` in Keras 3.16; `engine.training.Model` in Keras 2.15
and tf_keras 2.21.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, List

from .runtime import found, on_import

PatchClass = Callable[[Any], None]
WITH_COMPILE = ("BaseTrainer", "Trainer")
WITH_FIT = ("TensorFlowTrainer", "Trainer")
"""Names in the module; the first that is there."""


def with_compile(patch: PatchClass) -> PatchClass:
    """Decorator: `patch(cls)` for each class that defines `compile`, as it is imported."""
    return _register(patch, "keras.src.trainers.trainer", WITH_COMPILE, "compile")


def with_fit(patch: PatchClass) -> PatchClass:
    """Decorator: `patch(cls)` for each class that defines `fit` and `train_on_batch`, as it is imported."""
    return _register(patch, "keras.src.backend.tensorflow.trainer", WITH_FIT, "fit")


def _register(patch: PatchClass, keras3_module: str, keras3_classes: Sequence[str], method: str) -> PatchClass:
    for module_name, class_names in (
        (keras3_module, keras3_classes),
        ("keras.src.engine.training", ("Model",)),
        ("tf_keras.src.engine.training", ("Model",)),
    ):

        def patch_module(module: Any, class_names: Sequence[str] = class_names) -> None:
            for cls in found(f"{method} in {module.__name__}", classes_with(method, module, class_names)[:1]):
                patch(cls)

        # A hook is named by its module and function (`runtime.on_import`).
        patch_module.__module__, patch_module.__name__ = patch.__module__, patch.__name__
        on_import(module_name)(patch_module)
    return patch


def classes_with(method: str, module: Any, class_names: Sequence[str]) -> List[Any]:
    """Those of these classes of a module that define the method themselves."""
    classes = [getattr(module, name, None) for name in class_names]
    return [cls for cls in classes if cls is not None and method in vars(cls)]
