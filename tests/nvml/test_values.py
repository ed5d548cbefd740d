"""What the sampler makes of NVML's answers: every value right, or None with its reason; never 0 for unknown."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pynvml
import pytest

from tests.nvml import scenarios
from tests.nvml.machine import Machine
from tests.nvml.scenarios import gpu, silent
from tfgpu_tui.core.rows import GpuProcess
from tfgpu_tui.core.state import RunState
from tfgpu_tui.report.report_json import build
from tfgpu_tui.supervisor.gpu import mark_ours

MIB = 2**20
READ_OFTEN = """
import sys
from tfgpu_tui.supervisor import nvml_child
nvml_child.SLOW_S = 0.3
sys.exit(nvml_child.main(0.15))
"""
"""The child with its slow values read more often."""
NOT_MEASURED = {"index", "uuid", "pci", "name", "unknown", "slices", "processes", "throttle"}


async def test_every_value_of_the_scenario_arrives(machine: Machine) -> None:
    machine.play(gpu(), gpu(1))
    machine.watch()
    sample = await machine.next()
    assert sample.read_ms is not None and 0 < sample.read_ms < 100
    first, second = sample.gpus
    assert (
        first.items()
        >= {
            "index": 0,
            "uuid": "GPU-5e1b2c3d-0000-4000-8000-000000000000",
            "pci": "00000000:0A:00.0",
            "name": "NVIDIA H200",
            "busy_percent": 87,
            "memory_busy_percent": 41,
            "memory_used_bytes": 41234 * MIB,
            "memory_total_bytes": 143771 * MIB,
            "memory_reserved_bytes": 596 * MIB,
            "power_w": 512.345,
            "power_limit_w": 700.0,
            "temperature_c": 63,
            "sm_clock_mhz": 1965,
            "sm_clock_max_mhz": 1980,
            "memory_clock_mhz": 3201,
            "throttle": ["power cap"],
            "pcie_generation": 5,
            "pcie_generation_max": 5,
            "pcie_width": 8,
            "pcie_width_max": 16,
            "ecc_corrected": 3,
            "ecc_uncorrected": 0,
            "processes": [],
            "slices": [],
        }.items()
    )
    assert (second["index"], second["busy_percent"], second["memory_used_bytes"]) == (1, 86, 41235 * MIB)


async def test_rates_and_activity_are_means_between_two_readings(machine: Machine) -> None:
    machine.watch(command=[sys.executable, "-c", READ_OFTEN])
    first = await machine.row()
    assert first["pcie_rx_bytes_per_s"] is None, "one reading of a counter is no rate"
    await machine.until(lambda: "sm_active_percent" in machine.samples[-1].gpus[0] and len(machine.samples) > 1)
    later: dict[str, Any] = dict(machine.samples[-1].gpus[0])
    assert later["pcie_rx_bytes_per_s"] == pytest.approx(8.75e9, rel=0.05)
    assert later["pcie_tx_bytes_per_s"] == pytest.approx(1.25e9, rel=0.05)
    assert later["energy_j"] > first["energy_j"] > 0
    assert [later[f"{part}_active_percent"] for part in ("sm", "tensor", "dram")] == [61.5, 33.25, 40.0]


async def test_without_counters_pcie_is_measured_for_20_ms(machine: Machine) -> None:
    unsupported = {"call": "nvmlDeviceGetFieldValues", "error": pynvml.NVML_ERROR_NOT_SUPPORTED}
    machine.play(gpu(), faults=[unsupported])
    machine.watch()
    row = await machine.row()
    assert (row["pcie_rx_bytes_per_s"], row["pcie_tx_bytes_per_s"]) == (8.75e9, 1.25e9)
    assert row["energy_j"] is None


async def test_what_is_not_supported_is_none_and_says_so(machine: Machine) -> None:
    machine.play(silent())
    machine.watch()
    row = await machine.row()
    measured = {field: value for field, value in row.items() if field not in NOT_MEASURED}
    assert measured and set(measured.values()) == {None}
    assert (row["processes"], row["slices"], row["throttle"]) == (None, None, None)
    assert row["unknown"]["busy_percent"] == "Not Supported"
    assert "error" not in row


@pytest.mark.parametrize(
    ("board", "known"),
    [
        (scenarios.WSL2, {"busy_percent": 87, "temperature_c": 63, "memory_used_bytes": 41234 * MIB}),
        (scenarios.JETSON, {}),
        (scenarios.VGPU, {"busy_percent": 87, "memory_used_bytes": 41234 * MIB}),
    ],
    ids=["WSL2", "Jetson", "vGPU"],
)
async def test_platforms_that_hide_values(machine: Machine, board: scenarios.Gpu, known: dict[str, Any]) -> None:
    machine.play(board)
    machine.watch()
    row = await machine.row()
    assert row["name"] == board["name"]
    assert row.items() >= known.items()
    for field in ("busy_percent", "memory_used_bytes", "power_w", "temperature_c", "sm_clock_mhz"):
        assert field in known or row[field] is None
        assert field in known or row["unknown"][field] == "Not Supported"


async def test_absurd_values_are_refused(machine: Machine) -> None:
    machine.play(scenarios.ODD)
    machine.watch()
    row = await machine.row()
    for field in ("busy_percent", "temperature_c", "power_w", "memory_used_bytes", "sm_clock_mhz"):
        assert row[field] is None
        assert row["unknown"][field].startswith("not believed")
    assert row["memory_total_bytes"] == 143771 * MIB, "the sane values stay"
    (process,) = row["processes"]
    assert (process["memory_bytes"], process["busy_percent"]) == (None, None)


async def test_a_name_that_is_no_utf_8_is_shown(machine: Machine) -> None:
    machine.play(scenarios.ODD)
    machine.watch()
    assert (await machine.row())["name"] == "NVIDIA \N{REPLACEMENT CHARACTER} é"


async def test_an_old_driver(machine: Machine, old_library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", str(old_library))
    machine.play(gpu(processes=[{"pid": os.getpid(), "memory_mib": 100}]))
    machine.watch()
    row = await machine.row()
    assert row["memory_used_bytes"] == (41234 + 596) * MIB, "memory v1 counts the reserved part as used"
    assert row["memory_reserved_bytes"] is None
    assert "old driver" in row["unknown"]["memory_reserved_bytes"]
    assert [process["memory_bytes"] for process in row["processes"]] == [100 * MIB]
    assert row["sm_active_percent"] is None
    assert (row["busy_percent"], row["power_w"]) == (87, 512.345)


async def test_mig_shows_slices_and_no_utilisation(machine: Machine) -> None:
    machine.play(scenarios.MIG)
    machine.watch(ours=lambda: {os.getpid()})
    sample = await machine.next()
    row: dict[str, Any] = dict(sample.gpus[0])
    assert row["busy_percent"] is None
    assert row["unknown"]["busy_percent"] == "not available under MIG"
    large, small = row["slices"]
    assert large["uuid"] == scenarios.MIG["mig"][0]["uuid"]
    assert [part["memory_used_bytes"] for part in (large, small)] == [20000 * MIB, 10000 * MIB]
    assert [process["ours"] for process in large["processes"]] == [True]
    state = RunState()
    state.apply(sample)
    assert [view.ours for view in state.gpus.values()] == [True], "a slice of ours makes the GPU ours"


async def test_processes_ours_and_foreign(machine: Machine) -> None:
    machine.play(
        gpu(
            processes=[
                {"pid": os.getpid(), "memory_mib": 40210, "busy_percent": 85},
                {"pid": 1, "memory_mib": None, "busy_percent": 5},
            ]
        )
    )
    machine.watch(ours=lambda: {os.getpid()})
    name = Path("/proc/1/comm").read_text().strip()
    assert (await machine.row())["processes"] == [
        {"pid": os.getpid(), "memory_bytes": 40210 * MIB, "busy_percent": 85, "ours": True},
        {"pid": 1, "memory_bytes": None, "busy_percent": 5, "ours": False, "name": name},
    ]


async def test_processes_that_may_not_be_listed_are_unknown(machine: Machine) -> None:
    forbidden = {"call": "nvmlDeviceGet*Process*", "error": pynvml.NVML_ERROR_NO_PERMISSION}
    machine.play(gpu(), faults=[forbidden])
    machine.watch()
    row = await machine.row()
    assert row["processes"] is None
    assert row["unknown"]["processes"] == "Insufficient Permissions"
    assert row["busy_percent"] == 87


def test_pids_of_another_namespace_tell_nothing() -> None:
    mine: GpuProcess = {"pid": os.getpid()}
    gone: GpuProcess = {"pid": 4_000_000_000}
    ours = {os.getpid()}
    in_container = mark_ours([mine, gone], ours, nested=True)
    assert [p["ours"] for p in in_container] == [None, None], "the driver speaks of the host's pids"
    assert [p["ours"] for p in mark_ours([mine, gone], ours, nested=False)] == [True, None]
    assert [p["ours"] for p in mark_ours([mine], ours, nested=True)] == [True]


IN_REPORT: dict[str, tuple[str, float]] = {
    # The scenario's key -> the report's field, and what one of its units is in the report's.
    "name": ("name", 1),
    "uuid": ("uuid", 1),
    "pci": ("pci", 1),
    "busy_percent": ("busy_mean", 1),
    "memory_busy_percent": ("memory_busy_percent", 1),
    "memory_total_mib": ("memory_total_mib", 1),
    "memory_used_mib": ("memory_used_peak_mib", 1),
    "memory_reserved_mib": ("memory_reserved_mib", 1),
    "power_mw": ("power_mean_w", 1e-3),
    "power_limit_mw": ("power_limit_w", 1e-3),
    "power_limit_default_mw": ("power_limit_default_w", 1e-3),
    "temperature_c": ("temperature_c", 1),
    "sm_clock_mhz": ("sm_clock_mhz", 1),
    "sm_clock_max_mhz": ("sm_clock_max_mhz", 1),
    "memory_clock_mhz": ("memory_clock_mhz", 1),
    "memory_clock_max_mhz": ("memory_clock_max_mhz", 1),
    "pcie_generation": ("pcie_generation", 1),
    "pcie_generation_max": ("pcie_generation_max", 1),
    "pcie_generation_gpu_max": ("pcie_generation_gpu_max", 1),
    "pcie_width": ("pcie_width", 1),
    "pcie_width_max": ("pcie_width_max", 1),
    "pcie_rx_kb_per_s": ("pcie_rx_bytes_per_s", 1e3),
    "pcie_tx_kb_per_s": ("pcie_tx_bytes_per_s", 1e3),
    "ecc_corrected": ("ecc_corrected", 1),
    "ecc_uncorrected": ("ecc_uncorrected", 1),
    "sm_active_percent": ("sm_active_percent", 1),
    "tensor_active_percent": ("tensor_active_percent", 1),
    "dram_active_percent": ("dram_active_percent", 1),
}
OTHERWISE = {"throttle_mask", "processes", "mig"}
ALL_BOARDS = {
    "H200": gpu(processes=[{"pid": os.getpid(), "memory_mib": 40210, "busy_percent": 85}]),
    "WSL2": scenarios.WSL2,
    "Jetson": scenarios.JETSON,
    "vGPU": scenarios.VGPU,
    "MIG": scenarios.MIG,
    "odd": scenarios.ODD,
    "throttled": gpu(throttle_mask=0x4 | 0x20 | 0x40),
    "no ECC, no GPM": gpu(
        ecc_corrected=None,
        ecc_uncorrected=None,
        sm_active_percent=None,
        tensor_active_percent=None,
        dram_active_percent=None,
    ),
}


@pytest.mark.parametrize("name", ALL_BOARDS)
async def test_every_number_is_in_the_report_or_said_to_be_unknown(machine: Machine, name: str) -> None:
    board = ALL_BOARDS[name]
    machine.play(board)
    machine.watch(command=[sys.executable, "-c", READ_OFTEN], ours=lambda: {os.getpid()})
    slow: list[Any] = []

    def read_twice() -> bool:
        slow[:] = [s for s in machine.samples if s.gpus and "unknown" in s.gpus[0]]
        return len(slow) >= 3

    await machine.until(read_twice)
    state = RunState()
    for sample in machine.samples:
        state.apply(sample)
    (reported,) = build(state)["gpus"]
    assert set(board) == set(IN_REPORT) | OTHERWISE, "a key of the scenario that nobody looks for"
    for key, (field, unit) in IN_REPORT.items():
        told, truth = reported[field], board[key]
        if told is None:
            assert reported["unknown"][field], f"{field} is null without a reason"
            assert truth is None or name in ("odd", "MIG"), f"{key} was there and did not arrive"
        elif isinstance(truth, str):
            assert told == truth.encode(errors="surrogateescape").decode(errors="replace")
        else:
            assert truth is not None, f"{field} was made up"
            assert told == pytest.approx(truth * unit, rel=0.05)
    assert not set(reported["unknown"]) & {field for field, value in reported.items() if value is not None}
    words = {"H200": ["power cap"], "throttled": ["power cap", "thermal (software)", "thermal (hardware)"]}
    if name in words:
        assert reported["throttle"] == words[name]
        assert reported["throttled_share"] == dict.fromkeys(words[name], 1.0)
    for key in ("processes", "mig"):
        field = "slices" if key == "mig" else key
        if board[key] is None:
            assert reported[field] is None and reported["unknown"][field] == "Not Supported"
        else:
            assert len(reported[field]) == len(board[key])
    if name == "H200":
        assert reported["processes"][0]["memory_bytes"] == 40210 * MIB
        assert (reported["processes"][0]["ours"], reported["processes"][0]["busy_percent"]) == (True, 85)
        assert build(state)["monitor"]["gpu_read_ms"]["samples"] == len(machine.samples)
    if name == "MIG":
        assert [part["memory_used_bytes"] // MIB for part in reported["slices"]] == [20000, 10000]
        assert reported["unknown"]["busy_mean"] == "not available under MIG"
