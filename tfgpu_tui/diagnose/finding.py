"""What a finding is, and the order in which findings are shown (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

SEVERITIES = ("critical", "warning", "info")
WARNING_SHARE = 0.10
CRITICAL_SHARE = 0.20
"""Shares of step time from which a cause is a warning, or critical (the scale of XProf and TraceML)."""


_ENDINGS = ("run.failed", "run.killed", "run.legacy_api", "xla.unsupported_op", "run.broken_environment", "memory.oom")
"""Findings that say why the run is over."""


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


def ranked(findings: Iterable[Finding]) -> list[Finding]:
    """Critical before warning before info; within them what ended the run, then by the step time that each explains."""
    return sorted(findings, key=lambda f: (SEVERITIES.index(f.severity), f.id not in _ENDINGS, -f.share, f.id))


@dataclass
class FindingLog:
    """Remembers since when a finding stands, and lets it linger long enough to be read."""

    linger_s: float = 8.0
    _standing: dict[str, tuple[Finding, float, float]] = field(default_factory=dict)

    def update(
        self, findings: list[Finding], t: float, known: Mapping[str, float] | None = None
    ) -> list[tuple[Finding, float]]:
        """The findings to show at time `t` with the time since which each stands, ranked. `known` is what somebody who
        looked before this log did says of that (`RunState.standing`)."""
        for finding in findings:
            since = self._standing[finding.id][1] if finding.id in self._standing else t
            self._standing[finding.id] = (finding, min(since, (known or {}).get(finding.id, since)), t)
        self._standing = {k: v for k, v in self._standing.items() if v[2] >= t - self.linger_s}
        order = ranked(finding for finding, _, _ in self._standing.values())
        return [(f, self._standing[f.id][1]) for f in order]
