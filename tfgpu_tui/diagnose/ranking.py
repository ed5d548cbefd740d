"""The order in which findings are shown, and since when each stands (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field

from tfgpu_tui.core.quick import dataclass
from tfgpu_tui.core.severity import SEVERITIES
from tfgpu_tui.diagnose.finding import Finding


def ranked(findings: Iterable[Finding]) -> list[Finding]:
    """Critical before warning before info; within them what ended the run, then by the step time that each explains."""
    found = list(findings)
    if len(found) < 2:
        return found
    from tfgpu_tui.diagnose.register import ENDINGS  # late: a screen that opens on a new run has nothing to rank

    return sorted(found, key=lambda f: (SEVERITIES.index(f.severity), f.id not in ENDINGS, -f.share, f.id))


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
