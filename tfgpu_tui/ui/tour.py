"""Three hints on a new user's first screen, one at a time, each where it helps; after Esc never again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tfgpu_tui.runs import files, rundir
from tfgpu_tui.ui.panes.findings import offered
from tfgpu_tui.ui.view import Hint, View

NEXT, END = "tab", "escape"
"""The keys of the tour, while a hint is shown."""


def _verdict(view: View) -> Hint | None:
    return Hint("findings", "Hint: what costs most stands here")


def _try(view: View) -> Hint | None:
    """At a finding with a setting. A recording can't be run again: what the key does for a run of one's own."""
    finding = view.findings[0][0] if view.findings else None
    if finding is not None and finding.knob is not None and view.replay is not None:
        return Hint("findings", f"Hint: in your own run {view.key('apply')} tries {finding.knob}")
    if finding is None or not offered(view, finding):
        return None
    return Hint("findings", f"Hint: {view.key('apply')} tries it: reruns with {finding.knob}")


def _leave(view: View) -> Hint | None:
    if view.replay is not None:
        return Hint("footer", f"Hint: {view.key('detach')} leaves your own run running; tfgpu-tui attach comes back")
    if view.state.ended is not None or view.lost:
        return None
    return Hint("footer", f"Hint: {view.key('detach')} leaves the training running; tfgpu-tui attach comes back")


class Tour:
    """Which hint is due; `marker` is the file that says that there was one."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker
        self._left: list[Callable[[View], Hint | None]] = [_verdict, _try, _leave]

    def show(self, view: View) -> None:
        """Puts the hint that is due into the view: of those that are left, the first that the run has a place for."""
        due = next(filter(None, (hint(view) for hint in self._left)), None) if view.behind is None else None
        view.hint = replace(due, last=len(self._left) == 1) if due is not None else None

    def takes(self, key: str, view: View) -> bool:
        """True for a key that was the tour's: the next hint, or no more of them."""
        if view.hint is None or key not in (NEXT, END):
            return False
        if key == NEXT:
            self._left.remove(next(hint for hint in self._left if hint(view) is not None))
            self.show(view)
        if key == END or view.hint is None:
            self._end()
            view.hint = None
        return True

    def _end(self) -> None:
        self._left = []
        with contextlib.suppress(OSError):  # then it comes once more, on the next screen
            files.make_private(self._marker.parent)
            self._marker.touch(mode=0o600)


def of_new_user() -> Tour | None:
    """None for a user who had it."""
    try:
        marker = rundir.runs_dir().parent / "tour-seen"
    except rundir.StateDirError:
        return None
    return None if marker.exists() else Tour(marker)
