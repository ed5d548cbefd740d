"""TensorFlow's eager context, looked at without making it: that would start its devices too early."""

from __future__ import annotations

import sys
from typing import Any, Dict, Optional


def initialised_context() -> Optional[Any]:
    """TensorFlow's eager context, or None before the script initialised it.

    Asking for it any other way would initialise it and so break the script's own tf.config calls.
    `context._context` and `Context._context_handle` in tensorflow/python/eager/context.py, TF 2.15 to 2.21.
    """
    module = sys.modules.get("tensorflow.python.eager.context")
    current = getattr(module, "_context", None)
    return current if current is not None and current._context_handle is not None else None


def collective_cluster() -> Optional[Dict[str, Any]]:
    """The cluster whose tasks train by collectives, whichever resolver named it: `cluster` (type of task -> addresses
    by index), `type` and `index` of this process; None where there is none.

    `Context._collective_ops_server_def` in tensorflow/python/eager/context.py, a tensorflow.ServerDef
    (tensorflow/core/protobuf/tensorflow_server.proto), TF 2.15 to 2.21.
    """
    context = initialised_context()
    told = context._collective_ops_server_def if context is not None else None
    if told is None:
        return None
    cluster = {str(job.name): {int(i): str(address) for i, address in job.tasks.items()} for job in told.cluster.job}
    return {"cluster": cluster, "type": str(told.job_name), "index": int(told.task_index)}


def runs_elsewhere() -> bool:
    """Whether this thread has a worker of a ClusterCoordinator run its ops: what they make lies in that process, and
    each question about it is one to that.

    `get_current_dispatch_context` in tensorflow/python/distribute/coordinator/coordinator_context.py, TF 2.15 to 2.21.
    """
    module = sys.modules.get("tensorflow.python.distribute.coordinator.coordinator_context")
    return module is not None and module.get_current_dispatch_context() is not None
