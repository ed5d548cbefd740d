"""TensorFlow's own allocator on each GPU, once a second. On a machine without a GPU there is nothing to tell."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from ..hooks.runtime import every, send_latest
from ..hooks.tf_context import initialised_context
from . import gpu_identity

PERIOD_S = 1.0
MIB = 1024 * 1024


def limits(context: Any) -> List[Optional[int]]:
    """The memory limit of each logical GPU in bytes, None where the script set none."""
    out: List[Optional[int]] = []
    for gpu in gpu_identity.physical_gpus(context):
        for part in context.get_logical_device_configuration(gpu) or [None]:
            limit = getattr(part, "memory_limit", None)
            out.append(int(limit) * MIB if limit is not None else None)
    return out


def devices(context: Any) -> List[Dict[str, Any]]:
    """The `devices` of a `tf_memory` event: one entry for each logical GPU (`Context.get_memory_info`)."""
    gpus = context.list_logical_devices("GPU")
    known = limits(context)
    out = []
    for index, gpu in enumerate(gpus):
        name = gpu.name.rpartition("device:")[2]
        info = context.get_memory_info(name)
        out.append(
            {
                "device": name,
                "current_bytes": int(info["current"]),
                "peak_bytes": int(info["peak"]),
                "limit_bytes": known[index] if index < len(known) else None,
            }
        )
    return out


@every(PERIOD_S)
def _tell_memory() -> None:
    context = initialised_context()
    if context is None:
        return
    found = devices(context)
    if found:
        send_latest("tf_memory", devices=found)
