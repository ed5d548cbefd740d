"""Which physical GPU is TensorFlow's GPU:0: name, UUID, PCI address, through the CUDA driver that is loaded anyway.

TensorFlow numbers GPUs as the CUDA driver does under CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER; NVML numbers them by
PCI bus. Only the UUID joins the two. Run against the GPU build of TensorFlow 2.21.0 on a driver that only lists GPUs
(tests/nvml/test_mapping.py); not on a machine with a GPU yet.
"""

from __future__ import annotations

import ctypes
from typing import Any, Dict, List, Optional

_MAJOR, _MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and …_MINOR (cuda.h)."""


def physical_gpus(context: Any) -> List[Any]:
    """The GPUs that TensorFlow may use, in the order of its logical devices: that of the driver, whatever the order in
    which the script gave them to set_visible_devices (`Context._compute_device_options` in
    tensorflow/python/eager/context.py, TF 2.15 to 2.21)."""
    visible = context.get_visible_devices("GPU")
    return [gpu for gpu in context.list_physical_devices("GPU") if gpu in visible]


def ordinals(context: Any) -> List[int]:
    """The CUDA driver's number of the GPU behind each logical device (`/physical_device:GPU:1` is its device 1)."""
    out: List[int] = []
    for gpu in physical_gpus(context):
        parts = context.get_logical_device_configuration(gpu) or [None]
        out += [int(gpu.name.rpartition(":")[2])] * len(parts)
    return out


def logical_names(context: Any) -> List[str]:
    """`GPU:0`, … of an initialised context (`Context.list_logical_devices`)."""
    return [device.name.rpartition("device:")[2] for device in context.list_logical_devices("GPU")]


def found_by_tensorflow(context: Any) -> int:
    """GPUs that there were before the script's own set_visible_devices."""
    return len(context.list_physical_devices("GPU"))


def identities(context: Any) -> List[Dict[str, Any]]:
    """One entry for each logical GPU of an initialised context, as in events.Environment.tf_gpus."""
    return described(logical_names(context), ordinals(context))


def described(names: List[str], numbers: List[int]) -> List[Dict[str, Any]]:
    """`device`, `ordinal`, `name`, `uuid`, `pci`, `capability` of each; what the driver doesn't say is None."""
    driver = _driver() if names else None
    out = []
    for index, name in enumerate(names):
        # TensorFlow leaves small boards out by itself (TF_MIN_GPU_MULTIPROCESSOR_COUNT): then the lists differ.
        ordinal = numbers[index] if len(names) == len(numbers) else None
        entry: Dict[str, Any] = {"device": name, "ordinal": ordinal}
        entry.update(dict.fromkeys(("name", "uuid", "pci", "capability")))
        if driver is not None and ordinal is not None:
            entry.update(from_driver(driver, ordinal))
        out.append(entry)
    return out


def _driver() -> Optional[Any]:
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None


def from_driver(driver: Any, ordinal: int) -> Dict[str, Any]:
    """What the driver says of its device of that number (cuda.h: cuDeviceGet…); it must be initialised already."""
    device = ctypes.c_int()
    if driver.cuDeviceGet(ctypes.byref(device), ctypes.c_int(ordinal)) != 0:
        return {}
    found: Dict[str, Any] = {}
    text = ctypes.create_string_buffer(256)
    if driver.cuDeviceGetName(text, 256, device) == 0:
        found["name"] = text.value.decode(errors="replace")
    if driver.cuDeviceGetPCIBusId(text, 256, device) == 0:
        found["pci"] = text.value.decode(errors="replace")
    capability = [_attribute(driver, number, device) for number in (_MAJOR, _MINOR)]
    if None not in capability:
        found["capability"] = capability
    whole, part = _uuid(driver, "cuDeviceGetUuid", device), _uuid(driver, "cuDeviceGetUuid_v2", device)
    if part is not None and part != whole:
        # A slice of a GPU (MIG): only the second version of the call names it.
        found["uuid"] = f"MIG-{part}"
    elif whole is not None or part is not None:
        found["uuid"] = f"GPU-{whole or part}"
    return found


def _attribute(driver: Any, number: int, device: Any) -> Optional[int]:
    value = ctypes.c_int()
    return value.value if driver.cuDeviceGetAttribute(ctypes.byref(value), number, device) == 0 else None


def _uuid(driver: Any, function: str, device: Any) -> Optional[str]:
    raw = ctypes.create_string_buffer(16)
    call = getattr(driver, function, None)
    if call is None or call(raw, device) != 0:
        return None
    text = raw.raw.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
