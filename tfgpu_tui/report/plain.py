"""The same state as one line of text every few seconds: for pipes, CI logs and TERM=dumb (pure)."""

from __future__ import annotations

from tfgpu_tui.core import units
from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose import Finding, diagnose
from tfgpu_tui.terminal.lines import printable


def status_line(state: RunState) -> str:
    """`[tfgpu-tui 0:42] training, epoch 3/10, step 1240/1875, 31.8 ms/step (input 61 %, compute 37 %, host 2 %), …`."""
    parts = [state.activity()]
    if state.epoch is not None and state.running:
        parts.append(f"epoch {state.epoch}" + (f"/{state.epochs}" if state.epochs else ""))
    if state.train.steps:
        parts.append(_step_words(state))
    current = state.current()
    if current.steps:
        shares = current.shares()
        parts.append(
            f"{units.duration(current.mean_s)}/{state.counted} (input {units.share(shares['input_wait'])}, "
            f"compute {units.share(shares['compute'])}, host {units.share(shares['host'])})"
        )
    if several := state.training.words():
        parts.append(several)
    gpus = [g for g in state.gpus.values() if g.ours] or list(state.gpus.values())
    if gpus:
        busy = ", ".join(f"{g.index}: {units.percent(g.busy.latest)}" for g in gpus[:8])
        parts.append(f"GPU busy {busy}")
    if state.host is not None:
        parts.append(f"CPU {units.percent(state.host.tree_cpu_percent)}")
        parts.append(f"RSS {units.size(state.host.tree_rss_bytes)}")
    return printable(f"[tfgpu-tui {units.clock(state.wall_s)}] " + ", ".join(parts))


def _step_words(state: RunState) -> str:
    if state.step_in_epoch is not None and state.epoch_steps:
        return f"step {state.step_in_epoch}/{state.epoch_steps}"
    return f"{state.counted} {state.train.steps}"


def finding_lines(finding: Finding) -> list[str]:
    """A finding as lines of text: `! critical  Input-bound: …`, its evidence, its next step."""
    sign = {"critical": "!!", "warning": "! ", "info": "i "}[finding.severity]
    out = [f"{sign} {finding.severity:<8}  {finding.title}  [{finding.id}]"]
    out += [f"             {line}" for line in finding.lines]
    if finding.incomplete:
        out.append(f"             not certain: {finding.incomplete}")
    out.append(f"       next  {finding.next}")
    if finding.knob:
        out.append(f"       knob  --set {finding.knob}")
    return [printable(line) for line in out]


class StatusPrinter:
    """Which lines are due: the status, and each finding once when it first appears."""

    def __init__(self) -> None:
        self._shown: set[str] = set()

    def lines(self, state: RunState) -> list[str]:
        """The lines to print now."""
        out = [status_line(state)]
        for finding in diagnose(state):
            if finding.id not in self._shown:
                self._shown.add(finding.id)
                out += finding_lines(finding)
        return out
