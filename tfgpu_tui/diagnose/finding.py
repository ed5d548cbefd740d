"""What a finding is, and from which share of step time on it weighs (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from tfgpu_tui.core.quick import dataclass

WARNING_SHARE = 0.10
CRITICAL_SHARE = 0.20
"""Shares of step time from which a cause is a warning, or critical (the scale of XProf and TraceML)."""


@dataclass(frozen=True)
class Finding:
    """What is wrong, the evidence with its numbers, and the next step."""

    id: str
    """Stable: used in report.json, the screen, the tests and demo/."""
    severity: str
    title: str
    """One plain sentence with its number."""
    next: str
    """What to do, in words."""
    evidence: Mapping[str, object] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    """The evidence in words, most telling first."""
    knob: str | None = None
    """`name=value` of the knob that applies the next step without an edit."""
    share: float = 0.0
    """Share of step time that it explains (0..1): what its removal could save at most."""
    incomplete: str | None = None
    """Which signal is missing; the verdict is then not certain."""


def severity_of(share: float) -> str | None:
    """`critical`, `warning`, or None below the scale."""
    if share >= CRITICAL_SHARE:
        return "critical"
    return "warning" if share >= WARNING_SHARE else None
