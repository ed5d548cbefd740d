"""What holds a GPU down that works: heat, its power limit, its link to the host (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tfgpu_tui.core import units
from tfgpu_tui.core.parts.devices import link_bytes_per_s
from tfgpu_tui.core.state import STEADY_STEPS, RunState
from tfgpu_tui.core.totals import GpuView
from tfgpu_tui.diagnose.finding import Finding

MIN_SAMPLES = 20
"""Of a GPU at work, before its clock is judged: ten seconds."""
MIN_LINK_SAMPLES = 3
"""The link is read every few seconds."""
MOST = 0.5
"""Of these samples, from which it is no moment."""
FULL_LINK = 0.5
"""Of what the link can carry, from which it is what the steps may wait for."""
LOWERED = 0.95
"""Of the board's own power limit, below which somebody lowered it."""
HEAT = ("thermal (hardware)", "thermal (software)")
FAULTS = ("hardware slowdown", "power brake")
POWER = ("power cap",)


def findings(state: RunState) -> Iterator[Finding]:
    """gpu.throttled, gpu.link_degraded: of the first GPU of this run that has it."""
    if state.judged.steps < STEADY_STEPS:
        return
    views = sorted((view for view in state.gpus.values() if view.ours and not view.lost), key=lambda view: view.index)
    for judge in (_throttled, _link):
        found = [finding for view in views for finding in judge(view)]
        yield from sorted(found, key=lambda finding: finding.severity == "info")[:1]


def _throttled(view: GpuView) -> Iterator[Finding]:
    clock, highest = view.loaded_clock.mean(), view.latest.get("sm_clock_max_mhz")
    reasons = [r for r, count in view.slowed.items() if count > MOST * view.loaded_samples]
    known = [r for r in (*HEAT, *FAULTS, *POWER) if r in reasons]
    if view.loaded_samples < MIN_SAMPLES or not known or clock is None or not highest:
        return
    severity, why, step = _why(view, known[0])
    share = view.slowed[known[0]] / view.loaded_samples
    hot = view.latest.get("temperature_c")
    yield Finding(
        id="gpu.throttled",
        severity=severity,
        title=f"GPU {view.index} is slowed by {why}: {clock:.0f} of {highest:.0f} MHz while it works",
        lines=[
            f"held down by {', '.join(known)} in {units.share(share)} of {view.loaded_samples} samples of it at work",
            *([f"now at {hot:.0f} °C"] if hot is not None else []),
            *([words] if (words := _power_words(view)) else []),
        ],
        next=step,
        evidence={
            "gpu": view.index,
            "sm_clock_mhz": round(clock),
            "sm_clock_max_mhz": highest,
            "reasons": {r: round(view.slowed[r] / view.loaded_samples, 4) for r in known},
            "temperature_c": hot,
            "power_w": view.latest.get("power_w"),
            "power_limit_w": view.latest.get("power_limit_w"),
            "power_limit_default_w": view.latest.get("power_limit_default_w"),
        },
    )


def _why(view: GpuView, reason: str) -> tuple[str, str, str]:
    """(severity, the cause in words, what to do)."""
    look = f"nvidia-smi -q -i {view.index} -d PERFORMANCE,TEMPERATURE,POWER"
    if reason in HEAT:
        return "warning", "heat", f"Look at its fans, its air and its neighbours: {look}."
    if reason in FAULTS:
        return "warning", f"its own protection ({reason})", f"Look at its power supply and cabling: {look}."
    limit, own = view.latest.get("power_limit_w"), view.latest.get("power_limit_default_w")
    if limit and own and limit < LOWERED * own:
        raise_it = f"sudo nvidia-smi -i {view.index} -pl {own:.0f}"
        return "warning", f"a lowered power limit ({limit:.0f} of {own:.0f} W)", f"Raise it: {raise_it}."
    return (
        "info",
        "its power limit",
        "Nothing to repair: fewer or cheaper operations (mixed precision) cost less power.",
    )


def _power_words(view: GpuView) -> str | None:
    power, limit = view.latest.get("power_w"), view.latest.get("power_limit_w")
    return f"{power:.0f} W of {limit:.0f} W" if power is not None and limit else None


def _link(view: GpuView) -> Iterator[Finding]:
    now = view.latest
    if view.link_samples < MIN_LINK_SAMPLES or view.link_below <= MOST * view.link_samples:
        return
    generation, lanes = now.get("pcie_generation"), now.get("pcie_width")
    best, most = now.get("pcie_generation_max"), now.get("pcie_width_max")
    carries, could = link_bytes_per_s(generation, lanes), link_bytes_per_s(best, most)
    if carries is None or could is None or carries >= could:
        return  # it is at its best again
    received = view.link_received.mean()
    full = received is not None and received >= FULL_LINK * carries
    traffic = "not measured" if received is None else f"{units.size(received)} a second"
    narrow = lanes is not None and most is not None and lanes < most
    yield Finding(
        id="gpu.link_degraded",
        severity="warning" if full else "info",
        title=f"GPU {view.index} is linked by PCIe {generation} x{lanes}, though GPU and slot can do {best} x{most}",
        lines=[
            f"under load in {view.link_below} of {view.link_samples} readings; copies from the host: {traffic}",
            f"this link carries {units.size(carries)} a second at most, a whole one {units.size(could)}",
        ],
        next=(
            "Look at its seat, its riser or cable, and whether the slot shares its lanes (board's manual)"
            if narrow
            else "Look at the BIOS' setting of the slot's speed and at its riser or cable"
        )
        + f": sudo lspci -vv -s {_short(now.get('pci'))} | grep LnkSta.",
        evidence=_link_evidence(view, carries, could, received),
        incomplete=None if received is not None else "how much goes over it is not measured",
    )


def _link_evidence(view: GpuView, carries: float, could: float, received: float | None) -> Mapping[str, object]:
    names = ("pcie_generation", "pcie_generation_max", "pcie_generation_gpu_max", "pcie_width", "pcie_width_max")
    return {
        "gpu": view.index,
        **{name: view.latest.get(name) for name in names},
        "link_bytes_per_s": round(carries),
        "link_max_bytes_per_s": round(could),
        "received_bytes_per_s": None if received is None else round(received),
    }


def _short(pci: str | None) -> str:
    """`0a:00.0`, as lspci has it, for `00000000:0A:00.0`."""
    return pci.partition(":")[2].lower() if pci else "ADDRESS"
