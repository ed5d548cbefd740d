"""Which physical GPU is TensorFlow's GPU:0: name, UUID and PCI address, through the CUDA driver that is loaded anyway.

TensorFlow numbers GPUs as the CUDA driver does under CUDA_VISIBLE_DEVICES; NVML numbers them by PCI bus. Only the
UUID joins the two. Not run on a machine with a GPU yet.
"""

from __future__ import annotations

import ctypes
from typing import Any, Dict, List, Optional


def physical_gpus(context: Any) -> List[Any]:
    """The GPUs that TensorFlow may use, in the order of its logical devices. The context must be initialised."""
    return list(context.get_visible_devices("GPU"))


def logical_names(context: Any) -> List[str]:
    """`GPU:0`, … of an initialised context (`Context.list_logical_devices`)."""
    return [device.name.rpartition("device:")[2] for device in context.list_logical_devices("GPU")]


def identities(context: Any) -> List[Dict[str, Any]]:
    """One entry for each logical GPU: `device`, `name`, `uuid`, `pci`; what the driver doesn't say is None."""
    names = logical_names(context)
    if not names:
        return []
    visible = physical_gpus(context)
    owners: List[Any] = []
    for gpu in visible:
        parts = context.get_logical_device_configuration(gpu) or [None]
        owners += [gpu] * len(parts)
    driver = _driver()
    out = []
    for index, name in enumerate(names):
        gpu = owners[index] if index < len(owners) else None
        ordinal = int(gpu.name.rpartition(":")[2]) if gpu is not None else None
        entry: Dict[str, Any] = {"device": name, "name": None, "uuid": None, "pci": None}
        if driver is not None and ordinal is not None:
            entry.update(from_driver(driver, ordinal))
        out.append(entry)
    return out


def _driver() -> Optional[Any]:
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None


def from_driver(driver: Any, ordinal: int) -> Dict[str, Optional[str]]:
    """Name, UUID and PCI address of a CUDA device (cuda.h: cuDeviceGet…); CUDA must be initialised already."""
    device = ctypes.c_int()
    if driver.cuDeviceGet(ctypes.byref(device), ctypes.c_int(ordinal)) != 0:
        return {}
    found: Dict[str, Optional[str]] = {}
    text = ctypes.create_string_buffer(256)
    if driver.cuDeviceGetName(text, 256, device) == 0:
        found["name"] = text.value.decode(errors="replace")
    if driver.cuDeviceGetPCIBusId(text, 256, device) == 0:
        found["pci"] = text.value.decode(errors="replace")
    whole, part = _uuid(driver, "cuDeviceGetUuid", device), _uuid(driver, "cuDeviceGetUuid_v2", device)
    if part is not None and part != whole:
        # A slice of a GPU (MIG): only the second version of the call names it.
        found["uuid"] = f"MIG-{part}"
    elif whole is not None or part is not None:
        found["uuid"] = f"GPU-{whole or part}"
    return found


def _uuid(driver: Any, function: str, device: Any) -> Optional[str]:
    raw = ctypes.create_string_buffer(16)
    call = getattr(driver, function, None)
    if call is None or call(raw, device) != 0:
        return None
    text = raw.raw.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
