"""TensorFlow's eager context, looked at without making it: that would start its devices too early."""

from __future__ import annotations

import sys
from typing import Any, Optional


def initialised_context() -> Optional[Any]:
    """TensorFlow's eager context, or None before the script initialised it.

    Asking for it any other way would initialise it and so break the script's own tf.config calls.
    `context._context` and `Context._context_handle` in tensorflow/python/eager/context.py, TF 2.15 to 2.21.
    """
    module = sys.modules.get("tensorflow.python.eager.context")
    current = getattr(module, "_context", None)
    return current if current is not None and current._context_handle is not None else None
