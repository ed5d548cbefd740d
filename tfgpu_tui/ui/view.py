"""What the panes read: one run's state and how its reader looks at it. Panes change nothing in here."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from tfgpu_tui.core.quick import dataclass
from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose import Finding
from tfgpu_tui.terminal.lines import TerminalLines
from tfgpu_tui.ui.draw import UNICODE, Glyphs, Row, clip, width_of
from tfgpu_tui.ui.keys import ALL, Key, by_name
from tfgpu_tui.ui.plot import Axis, axis, time_row

if TYPE_CHECKING:
    from tfgpu_tui.trials.records import Group

RANGES_S: tuple[float | None, ...] = (60.0, 600.0, 3600.0, None)
"""How much time the plots show at most; None is the whole run."""
RANGE_WORDS = {60.0: "the last minute", 600.0: "the last 10 minutes", 3600.0: "the last hour", None: "the whole run"}


@dataclass(frozen=True)
class Past:
    """A finding that no longer stands."""

    finding: Finding
    since: float
    until: float


@dataclass(frozen=True)
class Search:
    """What its reader looks for, in which pane, and the rows of that pane that hold it."""

    pane: str
    text: str
    hits: tuple[int, ...] = ()
    at: int = 0
    """Which of `hits` is shown."""


@dataclass(frozen=True)
class Replay:
    """A recording that is shown again."""

    speed: float
    paused: bool = False
    ends: float | None = None
    """Time of the recording's last event."""


@dataclass(frozen=True)
class Hint:
    """One of a new user's three, see `ui.tour`."""

    place: str
    """`findings` (its lower edge) or `footer`."""
    words: str
    last: bool = False

    def row(self, width: int) -> Row:
        """Its words, of which a narrow screen cuts the end, and the tour's keys whole."""
        goes_on: Row = () if self.last else (("Tab", "key"), (" next  ", ""))
        keys: Row = (("   ", ""), *goes_on, ("Esc", "key"), (" no more", ""))
        return ((clip(self.words, width - width_of(keys)), "notice"), *keys)


@dataclass(frozen=True)
class Trials:
    """The experiment whose trials are shown, as it is known now."""

    group: Group
    alive: bool
    """Its conductor goes on."""
    stopping: bool = False
    """It was asked to stop from here."""

    @property
    def over(self) -> bool:
        return not self.alive

    @property
    def asks(self) -> bool:
        """Its conductor has ended, for nobody has said yet whether trials may write the script's files again."""
        return self.over and self.group.ended == "refused"


@dataclass
class View:
    """Everything a pane may draw. Made once by the app, refreshed at every tick."""

    state: RunState = field(default_factory=RunState)
    lines: TerminalLines = field(default_factory=TerminalLines)
    findings: list[tuple[Finding, float]] = field(default_factory=list)
    """Ranked, each with the time since which it stands."""
    past: list[Past] = field(default_factory=list)
    """Findings that stood for a while, the latest first."""
    now: float = 0.0
    """Unix seconds: the clock while the run is live, the journal's time in a replay, the end of an ended run."""
    glyphs: Glyphs = UNICODE
    keys: tuple[Key, ...] = ALL
    before: RunState | None = None
    """The run that this one was compared with or rerun from."""
    next_knobs: dict[str, str] = field(default_factory=dict)
    """Settings chosen for the next run; differs from the run's own once a key changed one."""
    range_s: float | None = 600.0
    """How much time the plots show at most; None is the whole run."""
    metric: str | None = None
    """The metric that its reader chose; None shows the first."""
    search: Search | None = None
    folded: frozenset[str] = frozenset()
    """Layers whose children are hidden in the placement."""
    only_off_gpu: bool = False
    """The placement shows only layers that are not on the GPU."""
    frozen_since: float | None = None
    behind: int | None = None
    """Events read so far while catching up with a long journal; None once it is read."""
    replay: Replay | None = None
    """None for a live run."""
    notice: str | None = None
    """One sentence for the status line: the last thing that was asked, or an error."""
    hint: Hint | None = None
    trials: Trials | None = None
    """The experiment that this run is a trial of, where that is on the screen."""
    lost: bool = False
    """The supervisor went away without writing an end."""

    _time_rows: dict[int, Row] = field(default_factory=dict, init=False, repr=False, compare=False)
    _time_rows_of: object = field(default=None, init=False, repr=False, compare=False)
    """What the time axes, by their cells, were drawn from."""

    def time_row(self, cells: int) -> Row:
        """The time axis below a plot of `cells` cells: of several plots of a size it is the same."""
        state = self.state
        marks = len(state.record.run_marks), len(state.described.marks)
        drawn_from = (id(state), state.now, state.started, self.window, marks, self.glyphs)
        if self._time_rows_of != drawn_from:
            self._time_rows_of = drawn_from
            self._time_rows.clear()
        if cells not in self._time_rows:
            self._time_rows[cells] = time_row(self.window, state.started or 0.0, cells, state.marks, self.glyphs)
        return self._time_rows[cells]

    @property
    def window(self) -> Axis:
        """The time axis that all plots share; an ended run fills the whole of it."""
        ended = self.state.ended is not None
        return axis(self.state.started or self.now, self.now, self.range_s, exact=ended)

    @property
    def knobs(self) -> dict[str, str]:
        """The settings that this run was started with."""
        return self.state.run.knobs if self.state.run else {}

    @property
    def has_gpu(self) -> bool:
        """True where NVML showed a GPU."""
        return bool(self.state.gpus)

    def key(self, name: str) -> str:
        """How the key of an action is written, as the reader has mapped it."""
        return by_name(self.keys, name).label

    def waiting_words(self) -> str:
        """What a pane says before it has anything to show: what the run is doing now."""
        words = self.state.activity()
        if self.behind is not None:
            return f"reading the run's history: {self.behind:,} events".replace(",", " ")
        if self.state.ended is None:
            return words
        return f"the run {'is over: ' + words if self.state.run else 'is over'}"
