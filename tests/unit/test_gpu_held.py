"""A GPU that is held down while it works: by heat, by power, by its link; and those that are not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.test_each_finding import clocked, linked
from tfgpu_tui.core.parts.devices import link_bytes_per_s
from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose import diagnose
from tfgpu_tui.diagnose.finding import Finding

LIMITS = {"power_w": 395.0, "power_limit_w": 400.0, "power_limit_default_w": 700.0}


def of(state: RunState, name: str) -> Finding | None:
    return next((f for f in diagnose(state) if f.id == name), None)


@pytest.mark.parametrize(
    ("reason", "more", "severity", "says"),
    [
        ("thermal (software)", {"temperature_c": 88}, "warning", "slowed by heat: 1200 of 1980 MHz"),
        ("hardware slowdown", {}, "warning", "its own protection"),
        ("power cap", LIMITS, "warning", "a lowered power limit (400 of 700 W)"),
        ("power cap", {**LIMITS, "power_limit_w": 700.0}, "info", "its power limit"),
        ("power cap", {"power_limit_w": 700.0}, "info", "its power limit"),
    ],
)
def test_why_it_is_slow(reason: str, more: dict[str, Any], severity: str, says: str) -> None:
    found = of(clocked(1200, [reason], **more), "gpu.throttled")
    assert found is not None and found.severity == severity
    assert says in found.title
    assert found.evidence["reasons"] == {reason: 1.0}


@pytest.mark.parametrize(
    ("mhz", "throttle", "busy"),
    [
        (1700, ["thermal (hardware)"], 92),  # a reason that costs little
        (1200, [], 92),  # a lower clock that the user set
        (1200, ["sync boost"], 92),  # not heat, nor power
        (345, ["power cap"], 4),  # idle: it saves power
        (345, ["power cap"], None),  # not known whether it works
    ],
)
def test_what_is_no_throttling(mhz: int, throttle: list[str], busy: int | None) -> None:
    assert of(clocked(mhz, throttle, busy_percent=busy), "gpu.throttled") is None


def test_a_link_is_judged_under_load_alone() -> None:
    narrow, old = of(linked(8), "gpu.link_degraded"), of(linked(16, generation=3), "gpu.link_degraded")
    assert narrow is not None and narrow.severity == "info" and "x8" in narrow.title
    assert old is not None and "BIOS" in old.next
    assert of(linked(16, generation=1, busy_percent=3), "gpu.link_degraded") is None, "an idle GPU saves power"


def test_a_link_that_is_nearly_full_is_a_warning() -> None:
    found = of(linked(4, busy_percent=8, pcie_rx_bytes_per_s=12e9), "gpu.link_degraded")
    assert found is not None and found.severity == "warning", "the copies themselves are the load"
    quiet = of(linked(4, pcie_rx_bytes_per_s=1e9), "gpu.link_degraded")
    assert quiet is not None and quiet.severity == "info" and quiet.incomplete is None


def test_what_a_link_carries() -> None:
    assert link_bytes_per_s(5, 16) == pytest.approx(63e9, rel=0.01)
    assert link_bytes_per_s(9, 16) is None and link_bytes_per_s(None, 16) is None
