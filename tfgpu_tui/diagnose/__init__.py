"""RunState -> ranked findings: one module for each family of causes in the list of findings (pure).

A finding needs its signal, measured; a missing signal makes it incomplete, never silent and never guessed. Nothing is
judged before `state.STEADY_STEPS` steps after warm-up. It imports `core` alone. `verdict` asks the families, `register`
holds what there is to say of each finding, `ranking` orders them, `explain` makes text of the register.
"""

from __future__ import annotations

from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose.finding import Finding
from tfgpu_tui.diagnose.ranking import FindingLog

__all__ = ["Finding", "FindingLog", "diagnose"]


def diagnose(state: RunState) -> list[Finding]:
    """Everything that is wrong with this run as far as it was measured, the most costly first."""
    from tfgpu_tui.diagnose.verdict import verdict  # late: a screen opens before the first one

    return verdict(state)
