"""What the panes read: one run's state and how its reader looks at it. Panes change nothing in here."""

from __future__ import annotations

from dataclasses import dataclass, field

from tfgpu_tui.diagnose import Finding
from tfgpu_tui.state import RunState
from tfgpu_tui.terminal import TerminalLines
from tfgpu_tui.ui.draw import UNICODE, Glyphs
from tfgpu_tui.ui.plot import Axis, axis


@dataclass
class View:
    """Everything a pane may draw. Made once by the app, refreshed at every tick."""

    state: RunState = field(default_factory=RunState)
    lines: TerminalLines = field(default_factory=TerminalLines)
    findings: list[tuple[Finding, float]] = field(default_factory=list)
    """Ranked, each with the time since which it stands."""
    now: float = 0.0
    """Unix seconds: the clock while the run is live, the journal's time in a replay, the end of an ended run."""
    glyphs: Glyphs = UNICODE
    before: RunState | None = None
    """The run that this one was compared with or rerun from."""
    next_knobs: dict[str, str] = field(default_factory=dict)
    """Settings chosen for the next run; differs from the run's own once a key changed one."""
    whole_run: bool = False
    metric: str | None = None
    """The metric that its reader chose; None shows the first."""
    frozen_since: float | None = None
    behind: int | None = None
    """Events read so far while catching up with a long journal; None once it is read."""
    replay: float | None = None
    """Speed of a replay; None for a live run."""
    notice: str | None = None
    """One sentence for the status line: the last thing that was asked, or an error."""
    lost: bool = False
    """The supervisor went away without writing an end."""

    @property
    def window(self) -> Axis:
        """The time axis that all plots share."""
        return axis(self.state.started or self.now, self.now, self.whole_run)

    @property
    def knobs(self) -> dict[str, str]:
        """The settings that this run was started with."""
        return self.state.run.knobs if self.state.run else {}

    @property
    def has_gpu(self) -> bool:
        """True where NVML showed a GPU."""
        return bool(self.state.gpus)

    def waiting_words(self) -> str:
        """What a pane says before it has anything to show: what the run is doing now."""
        words = self.state.activity()
        if self.behind is not None:
            return f"reading the run's history: {self.behind:,} events".replace(",", " ")
        if self.state.ended is None:
            return words
        return f"the run {'is over: ' + words if self.state.run else 'is over'}"
