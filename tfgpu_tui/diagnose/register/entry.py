"""What the register holds of one finding (pure)."""

from __future__ import annotations

from collections.abc import Callable

from tfgpu_tui.core import units
from tfgpu_tui.core.quick import dataclass
from tfgpu_tui.core.state import STEADY_STEPS
from tfgpu_tui.diagnose.finding import CRITICAL_SHARE, WARNING_SHARE

FIRST = "0.1.0"
"""The version that brought everything that has no later one."""


@dataclass(frozen=True)
class Limit:
    """A number at which a verdict turns: the code's own constant, and how a person reads it."""

    words: str
    """One sentence with `{}` in the place of the number."""
    value: float | str
    written: Callable[[float], str] | None = None

    def __str__(self) -> str:
        if self.written is None or isinstance(self.value, str):
            return self.words.format(self.value)
        return self.words.format(self.written(self.value))


@dataclass(frozen=True)
class Entry:
    """One finding, for a person who meets it for the first time.

    Texts are paragraphs with a blank line between them; a line that begins with `| ` is code.
    """

    id: str
    """Never changes."""
    means: str
    """What is wrong, in one line."""
    seen: str
    """What its reader sees, on the screen and in the training."""
    why: str
    """Why that happens in TensorFlow of today (2.15 to 2.21)."""
    signal: str
    """What proves it, and how that is measured."""
    steps: tuple[str, ...]
    """What to do, in this order."""
    harmless: str
    """When there is nothing to do."""
    limits: tuple[Limit, ...] = ()
    knobs: tuple[str, ...] = ()
    """`name=value` of the knobs that try the cure without an edit; of a value that depends on the run only `name=`."""
    demo: str | None = None
    """What `tfgpu-tui` is called with to see it: a script of `demo/`, or the replay of a recording there."""
    demo_note: str = ""
    """What that demo needs; or why there is none."""
    ends_run: bool = False
    """Says why the run is over: such a finding stands before all others of its severity."""
    since: str = FIRST


JUDGED = Limit("judged from {} steps on, after warm-up", STEADY_STEPS)
A_WARNING = Limit("a warning from {} of step time", WARNING_SHARE, units.share)
CRITICAL = Limit("critical from {} of step time", CRITICAL_SHARE, units.share)
SHARES = (JUDGED, A_WARNING, CRITICAL)
"""The scale of everything that costs a share of each step."""
