"""Which of NVML's GPUs is TensorFlow's GPU:0, and by what proof (pure).

TensorFlow numbers GPUs as the CUDA driver does, under CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER; NVML numbers them by
PCI address. What joins the two is the UUID that the driver tells inside the training's own process. Two more proofs
come from elsewhere: the run's process in NVML's list of that GPU, and the PCI address in TensorFlow's own message.
"""

from __future__ import annotations

import re
from dataclasses import field
from typing import Any

from tfgpu_tui.core.quick import dataclass
from tfgpu_tui.core.rows import TensorflowGpu
from tfgpu_tui.core.state import RunState
from tfgpu_tui.core.totals import GpuView

BY_UUID = "the UUID that the CUDA driver tells in the training's process"
BY_ADDRESS = "the PCI address that the CUDA driver tells in the training's process"
BY_PROCESS = "a process of this run in the driver's list of that GPU"
BY_MESSAGE = "the PCI address in TensorFlow's own message"


@dataclass(frozen=True)
class Mapped:
    """One of TensorFlow's logical devices, and the GPU behind it."""

    device: str
    """`GPU:0`."""
    index: int | None
    """NVML's number (as nvidia-smi shows it); None where it is not certain."""
    uuid: str | None
    ordinal: int | None
    """The CUDA driver's number, which TensorFlow's physical device has too."""
    slice: str | None = None
    """Name of the MIG slice, where it is one."""
    proofs: list[str] = field(default_factory=list)
    doubt: str | None = None
    """Why it is not certain, in words."""

    def as_json(self) -> dict[str, Any]:
        """For report.json: next to what TensorFlow's process told of the device."""
        return {"nvml_index": self.index, "slice": self.slice, "proofs": self.proofs, "doubt": self.doubt}


def mapping(state: RunState) -> list[Mapped]:
    """One entry for each GPU that TensorFlow lists; none before it was asked."""
    return [_mapped(state, gpu) for gpu in state.environment.tf_gpus or ()]


def devices_on(state: RunState, view: GpuView) -> list[str]:
    """TensorFlow's names of this GPU: none where it does not use it, several where it is split."""
    return [m.device for m in mapping(state) if m.index == view.index]


def address(text: object) -> tuple[int, ...] | None:
    """A PCI address as numbers: NVML writes `00000000:0A:00.0`, CUDA `0000:0a:00.0`."""
    found = re.fullmatch(r"([0-9a-fA-F]+):([0-9a-fA-F]+):([0-9a-fA-F]+)\.([0-9a-fA-F]+)", str(text).strip())
    return tuple(int(part, 16) for part in found.groups()) if found else None


def _mapped(state: RunState, gpu: TensorflowGpu) -> Mapped:
    device, uuid, pci = str(gpu.get("device")), gpu.get("uuid"), address(gpu.get("pci"))
    ordinal = gpu.get("ordinal")
    view, part = _with_uuid(state, uuid)
    proofs = [BY_UUID] if view else []
    if view is None and pci is not None:
        view = next((v for v in state.gpus.values() if address(v.latest.get("pci")) == pci), None)
        proofs = [BY_ADDRESS] if view else []
    if view is None and not uuid and pci is None:
        mine = [v for v in state.gpus.values() if _has_our_process(v)]
        if len(mine) == 1 == len(state.environment.tf_gpus or ()):
            view = mine[0]
    if view is None:
        why = "NVML shows no GPU with this UUID" if uuid else "the CUDA driver told no UUID"
        return Mapped(device, None, uuid, ordinal, doubt=why)
    theirs = address(view.latest.get("pci"))
    doubt = "the driver gives this GPU another PCI address" if pci and theirs and pci != theirs else None
    if _has_our_process(view):
        proofs.append(BY_PROCESS)
    said = [address(d.values.get("pci")) for d in state.diagnostics.values()
            if d.id == "gpu.created" and d.values.get("device") == device]  # fmt: skip
    if theirs is not None and theirs in said:
        proofs.append(BY_MESSAGE)
    elif theirs is not None and any(said):
        doubt = "TensorFlow's own message names another PCI address"
    return Mapped(device, view.index, uuid, ordinal, part, proofs, doubt)


def _with_uuid(state: RunState, uuid: str | None) -> tuple[GpuView | None, str | None]:
    for view in state.gpus.values() if uuid else ():
        if view.uuid == uuid:
            return view, None
        for part in view.latest.get("slices") or ():
            if part.get("uuid") == uuid:
                return view, str(part.get("name"))
    return None, None


def _has_our_process(view: GpuView) -> bool:
    parts = (view.latest, *(view.latest.get("slices") or ()))
    return any(process.get("ours") for part in parts for process in part.get("processes") or ())
