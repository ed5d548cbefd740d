"""The values of one GPU through NVML, in the units of events.GpuSample: what is not known is None, with the reason."""

from __future__ import annotations

import time
from typing import Any

import pynvml as nvml

from tfgpu_tui.supervisor.nvml_board import GONE, GPM, TOO_OLD, Board, Failed, Values, call

_THROTTLE_WORDS = {
    # nvmlClocksEventReasons in nvml.h; 0x1 (idle) and 0x2 (clocks set by the user) hold nothing back.
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "thermal (software)",
    0x40: "thermal (hardware)",
    0x80: "power brake",
    0x100: "display clocks",
}
_ENERGY, _PCIE_TX, _PCIE_RX = 83, 197, 198
"""NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION (mJ), NVML_FI_DEV_PCIE_COUNT_TX_BYTES and …_RX_BYTES."""
FIRST_LOADS_S = 5.0
"""How far back the first reading of the processes' load looks: the driver keeps older samples, too."""


def read_board(board: Board, with_slow: bool) -> Values:
    """One GPU as a row of events.GpuSample. One that is gone (lost, fallen off the bus), or none of whose calls
    works any more, has `error` and no values."""
    board.answers, board.errors = 0, []
    try:
        # By index each time: a lost board fails right here.
        handle = call(nvml.nvmlDeviceGetHandleByIndex, board.index)
        board.uuid = board.uuid or board.read(("uuid",), lambda: (nvml.nvmlDeviceGetUUID(handle),))["uuid"]
        values = fast(board, handle)
        if with_slow:
            values |= slow(board, handle, values["memory_total_bytes"])
        else:
            del values["memory_total_bytes"], values["memory_reserved_bytes"]
        if board.errors and not board.answers:
            raise Failed(nvml.NVML_ERROR_UNKNOWN, board.errors[0])
    except Failed as failed:
        return {"index": board.index, "uuid": board.uuid, "error": GONE.get(failed.code or 0) or str(failed)}
    return {"index": board.index, "uuid": board.uuid, **values}


def fast(board: Board, handle: Any) -> Values:
    """What is read at each tick."""

    def milliwatts() -> tuple[float]:
        return (nvml.nvmlDeviceGetPowerUsage(handle) / 1000,)

    def utilization() -> tuple[int, int]:
        rates = nvml.nvmlDeviceGetUtilizationRates(handle)
        return rates.gpu, rates.memory

    return {
        **board.read(("busy_percent", "memory_busy_percent"), utilization),
        **memory(board, handle),
        **board.read(("power_w",), milliwatts),
        **board.read(("temperature_c",), lambda: (nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),)),
        **board.read(("sm_clock_mhz",), lambda: (nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),)),
        **board.read(("throttle",), lambda: (throttle(handle),)),
    }


def slow(board: Board, handle: Any, total_bytes: int | None) -> Values:
    """What changes seldom or costs more: names and limits, PCIe, energy, ECC, SM activity, slices, processes."""

    def ecc(kind: int) -> tuple[int]:
        return (nvml.nvmlDeviceGetTotalEccErrors(handle, kind, nvml.NVML_VOLATILE_ECC),)

    def default_limit() -> tuple[float]:
        return (nvml.nvmlDeviceGetPowerManagementDefaultLimit(handle) / 1000,)

    out = {
        **board.read(("name",), lambda: (name(handle),)),
        **board.read(("pci",), lambda: (nvml.nvmlDeviceGetPciInfo(handle).busId,)),
        **board.read(("power_limit_w",), lambda: (nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000,)),
        **board.read(("power_limit_default_w",), default_limit),
        **board.read(("sm_clock_max_mhz",), lambda: (nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM),)),
        **board.read(("memory_clock_mhz",), lambda: (nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM),)),
        **board.read(("memory_clock_max_mhz",), lambda: (nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_MEM),)),
        **board.read(("pcie_generation",), lambda: (nvml.nvmlDeviceGetCurrPcieLinkGeneration(handle),)),
        **board.read(("pcie_generation_max",), lambda: (nvml.nvmlDeviceGetMaxPcieLinkGeneration(handle),)),
        **board.read(("pcie_generation_gpu_max",), lambda: (nvml.nvmlDeviceGetGpuMaxPcieLinkGeneration(handle),)),
        **board.read(("pcie_width",), lambda: (nvml.nvmlDeviceGetCurrPcieLinkWidth(handle),)),
        **board.read(("pcie_width_max",), lambda: (nvml.nvmlDeviceGetMaxPcieLinkWidth(handle),)),
        **traffic(board, handle),
        **board.read(("ecc_corrected",), lambda: ecc(nvml.NVML_MEMORY_ERROR_TYPE_CORRECTED)),
        **board.read(("ecc_uncorrected",), lambda: ecc(nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED)),
        **board.read(tuple(GPM), lambda: board.gpm(handle)),
        **board.read(("processes",), lambda: (processes(board, handle, total_bytes),)),
        **board.read(("slices",), lambda: (slices(board, handle),)),
    }
    if out["slices"] and "busy_percent" in board.unknown:
        board.unknown["busy_percent"] = "not available under MIG"
    out["unknown"] = dict(board.unknown)
    return out


def name(handle: Any) -> str:
    """The GPU's name. pynvml's own decoding raises on a byte that is no UTF-8 (seen with broken inforoms): this one
    shows a replacement character."""
    raw: bytes = nvml.nvmlDeviceGetName.__wrapped__(handle)
    return raw.decode(errors="replace")


def memory(board: Board, handle: Any) -> Values:
    """Bytes used, total and reserved by the driver. An old driver has only v1, which counts the reserved part as used:
    then `memory_reserved_bytes` is None."""
    used, total, reserved = fields = ("memory_used_bytes", "memory_total_bytes", "memory_reserved_bytes")

    values = board.read(fields, lambda: memory_bytes(handle))
    if values[total] is not None:
        values[used] = board.believed(used, values[used], values[total])
        if values[reserved] is None:
            board.unknown[reserved] = "an old driver: what it reserves is counted as used"
    return values


def memory_bytes(handle: Any) -> tuple[int, int, int | None]:
    """Used, total and reserved, from v2 or where the driver lacks that from v1."""
    try:
        info = nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2)
        return info.used, info.total, info.reserved
    except TOO_OLD:
        info = nvml.nvmlDeviceGetMemoryInfo(handle)
        return info.used, info.total, None


def throttle(handle: Any) -> list[str]:
    """Words for what holds the clocks down right now."""
    mask = nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)
    return [word for bit, word in _THROTTLE_WORDS.items() if mask & bit]


def traffic(board: Board, handle: Any) -> Values:
    """Energy and PCIe bytes a second as the mean since the last reading, from counters that cost no waiting; where the
    driver has no such counters, from a call that counts for 20 ms."""
    fields = ("energy_j", "pcie_tx_bytes_per_s", "pcie_rx_bytes_per_s")

    def counters() -> tuple[float | None, float | None, float | None]:
        got = nvml.nvmlDeviceGetFieldValues(handle, [_ENERGY, _PCIE_TX, _PCIE_RX])
        known = {int(v.fieldId): _field_number(v) for v in got if v.nvmlReturn == 0}
        rates = board.rates({key: n for key, n in known.items() if key != _ENERGY})
        energy = known.get(_ENERGY)
        return None if energy is None else energy // 1000, rates.get(_PCIE_TX), rates.get(_PCIE_RX)

    def counted_20_ms() -> tuple[float, float]:
        kb = [nvml.nvmlDeviceGetPcieThroughput(handle, which) for which in (0, 1)]
        return kb[0] * 1000, kb[1] * 1000

    values = board.read(fields, counters)
    if board.counts:
        return values
    return {**values, **board.read(fields[1:], counted_20_ms)}


def _field_number(value: Any) -> int:
    """The number of a field value by its type (nvmlValueType_t)."""
    kinds = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")
    return int(getattr(value.value, kinds[value.valueType]))


def processes(board: Board, handle: Any, total_bytes: int | None) -> list[Values]:
    """Processes with a compute context, by the driver's pids; what the driver can't tell of one is None.

    Drivers 535.x with a newer binding gave memory and pid in each other's place: a memory above the board's is
    not believed.
    """
    try:
        listed = nvml.nvmlDeviceGetComputeRunningProcesses(handle)
    except TOO_OLD:  # a driver before 510 has no _v3
        listed = nvml.nvmlDeviceGetComputeRunningProcesses_v2(handle)
    loads = board.read(("process_loads",), lambda: (process_loads(board, handle),))["process_loads"] or {}
    board.unknown.pop("process_loads", None)
    found = []
    for process in listed:
        used = process.usedGpuMemory
        believable = used is not None and (total_bytes is None or 0 <= used <= total_bytes)
        found.append(
            {
                "pid": process.pid,
                "memory_bytes": used if believable else None,
                "busy_percent": loads.get(process.pid),
            }
        )
    return found


def process_loads(board: Board, handle: Any) -> dict[int, float]:
    """Mean SM time in percent of each process since the last reading. A process without a new sample is missing:
    idle, or not measured. Samples above 100 % come with zombie contexts (nvtop #110) and are left out."""
    since = max(board.processes_seen_us, int((time.time() - FIRST_LOADS_S) * 1e6))
    try:
        samples = nvml.nvmlDeviceGetProcessUtilization(handle, since)
    except nvml.NVMLError_NotFound:
        return {}
    seen: dict[int, list[int]] = {}
    for sample in samples:
        board.processes_seen_us = max(board.processes_seen_us, sample.timeStamp)
        if sample.timeStamp > since and sample.smUtil <= 100:
            seen.setdefault(sample.pid, []).append(sample.smUtil)
    return {pid: sum(loads) / len(loads) for pid, loads in seen.items()}


def slices(board: Board, handle: Any) -> list[Values]:
    """The MIG slices of a GPU, each with its own memory and processes; none where MIG is off."""
    if nvml.nvmlDeviceGetMigMode(handle)[0] != nvml.NVML_DEVICE_MIG_ENABLE:
        return []
    found = []
    for index in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            part = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
        except nvml.NVMLError_NotFound:  # slices leave gaps in the numbers
            continue
        found.append(_slice(index, part))
    return found


def _slice(index: int, part: Any) -> Values:
    """What one slice answers; a call that it does not support costs only its field."""
    own = Board(index)
    values = own.read(("uuid",), lambda: (nvml.nvmlDeviceGetUUID(part),))
    values |= own.read(("name",), lambda: (name(part),)) | memory(own, part)
    total = values["memory_total_bytes"]
    return values | own.read(("processes",), lambda: (processes(own, part, total),))
