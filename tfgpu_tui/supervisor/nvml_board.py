"""One GPU as NVML's caller must treat it: which calls it refuses and why, and the counters of the last reading.

NVML calls fail one by one: NOT_SUPPORTED (remembered for a minute), no permission, a symbol that an old driver lacks,
or a value that can't be true. Each costs its own field. Only a GPU that is gone costs its row.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pynvml as nvml

Values = dict[str, Any]

RETRY_UNSUPPORTED_S = 60.0
GPM_APART_S = 0.11
"""nvml.h asks for at least 100 ms between the two samples of a GPM metric."""
_UNSUPPORTED = (nvml.NVML_ERROR_NOT_SUPPORTED, nvml.NVML_ERROR_FUNCTION_NOT_FOUND, None)
GONE = {
    nvml.NVML_ERROR_GPU_IS_LOST: "the GPU is lost: it fell off the bus or the driver gave it up",
    nvml.NVML_ERROR_RESET_REQUIRED: "the GPU needs a reset",
    nvml.NVML_ERROR_UNINITIALIZED: "the driver forgot this process",
    nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "the driver was replaced under the running system",
}
"""Errors that hold for the whole GPU, not for one value."""
_HIGHEST = {
    "busy_percent": 100,
    "memory_busy_percent": 100,
    "power_w": 20_000,
    "power_limit_w": 20_000,
    "power_limit_default_w": 20_000,
    "temperature_c": 200,
    "sm_clock_mhz": 100_000,
    "sm_clock_max_mhz": 100_000,
    "memory_clock_mhz": 100_000,
    "memory_clock_max_mhz": 100_000,
    "pcie_rx_bytes_per_s": 10**12,
    "pcie_tx_bytes_per_s": 10**12,
}
"""Above this a value is an old sample, an all-ones "not available", or nonsense (nvtop #110)."""
GPM = {"sm_active_percent": 2, "tensor_active_percent": 5, "dram_active_percent": 10}
"""NVML_GPM_METRIC_SM_UTIL, …_ANY_TENSOR_UTIL, …_DRAM_BW_UTIL."""


TOO_OLD = (
    nvml.NVMLError_FunctionNotFound,
    nvml.NVMLError_ArgumentVersionMismatch,
    getattr(nvml, "NVMLLibraryMismatchError", nvml.NVMLError_FunctionNotFound),
)
"""What the binding raises where the driver has only an older form of a call; 12.535 lacks the last."""


class Failed(Exception):
    """An NVML call failed: `code` as in nvml.h (None where the binding itself failed), and words."""

    def __init__(self, code: int | None, message: str) -> None:
        super().__init__(message)
        self.code = code


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """The call's value. Raises Failed for whatever NVML or its binding raises: NVMLLibraryMismatchError (a symbol that
    an old driver lacks) is no NVMLError, and a name that is no UTF-8 raises UnicodeDecodeError."""
    try:
        return function(*arguments)
    except nvml.NVMLError as error:
        raise Failed(error.value, str(error)) from error
    except Exception as error:
        raise Failed(None, f"{type(error).__name__}: {error}") from error


class Board:
    """What is remembered of one GPU between two readings."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.uuid: str | None = None
        self.slow_read = float("-inf")
        """When its slow values were last read (monotonic)."""
        self.unknown: dict[str, str] = {}
        """Fields that are None now, and why."""
        self.answers = 0
        self.errors: list[str] = []
        """Of this reading: calls that gave a value, and words of those that failed (not: are not supported)."""
        self.processes_seen_us = 0
        self._until: dict[tuple[str, ...], float] = {}
        self._counters: tuple[float, dict[int, int]] | None = None
        self._gpm: tuple[float, Any, Any] | None = None

    def read(self, fields: tuple[str, ...], function: Callable[[], tuple[Any, ...]]) -> Values:
        """The fields, from a function that returns their values in this order. Raises Failed where the GPU is gone."""
        now = time.monotonic()
        if self._until.get(fields, 0.0) > now:
            return dict.fromkeys(fields)
        try:
            values = call(function)
        except Failed as failed:
            if failed.code in GONE:
                raise
            if failed.code in _UNSUPPORTED:
                self._until[fields] = now + RETRY_UNSUPPORTED_S
            else:
                self.errors.append(str(failed))
            self.unknown.update(dict.fromkeys(fields, str(failed)))
            return dict.fromkeys(fields)
        self.answers += 1
        return {field: self.believed(field, value) for field, value in zip(fields, values, strict=True)}

    def believed(self, field: str, value: Any, highest: float | None = None) -> Any:
        """The value where it can be true, else None with its reason."""
        highest = _HIGHEST.get(field) if highest is None else highest
        if value is not None and highest is not None and not 0 <= value <= highest:
            self.unknown[field] = f"not believed: {value:.0f}"
            return None
        if value is not None:
            self.unknown.pop(field, None)
        return value

    @property
    def counts(self) -> bool:
        """True where the driver has counters to make rates of."""
        return self._counters is not None and bool(self._counters[1])

    def rates(self, counters: dict[int, int]) -> dict[int, int | None]:
        """How fast each counter ran since the last reading, per second; None at first, and where it wrapped."""
        now, before = time.monotonic(), self._counters
        self._counters = (now, counters)
        if before is None or now <= before[0]:
            return dict.fromkeys(counters)
        gone = {key: value - before[1].get(key, value + 1) for key, value in counters.items()}
        return {key: round(delta / (now - before[0])) if delta >= 0 else None for key, delta in gone.items()}

    def gpm(self, handle: Any) -> tuple[float | None, ...]:
        """SM, tensor core and memory activity since the last reading, percent (Hopper and later)."""
        if not nvml.nvmlGpmQueryDeviceSupport(handle).isSupportedDevice:
            raise nvml.NVMLError(nvml.NVML_ERROR_NOT_SUPPORTED)
        taken, older, newer = self._gpm or (None, nvml.nvmlGpmSampleAlloc(), nvml.nvmlGpmSampleAlloc())
        now = time.monotonic()
        if taken is not None and now - taken < GPM_APART_S:
            return (None,) * len(GPM)
        nvml.nvmlGpmSampleGet(handle, older)
        self._gpm = (now, newer, older)
        if taken is None:
            return (None,) * len(GPM)
        wanted = nvml.c_nvmlGpmMetricsGet_t()
        wanted.version, wanted.numMetrics = nvml.NVML_GPM_METRICS_GET_VERSION, len(GPM)
        wanted.sample1, wanted.sample2 = newer, older
        for slot, metric in enumerate(GPM.values()):
            wanted.metrics[slot].metricId = metric
        got = nvml.nvmlGpmMetricsGet(wanted).metrics
        return tuple(got[slot].value if got[slot].nvmlReturn == 0 else None for slot in range(len(GPM)))
