"""Family C: epochs that are shorter than they were meant to be, since the input ran out (pure)."""

from __future__ import annotations

from collections.abc import Iterator

from tfgpu_tui.core.events import Epoch
from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose.finding import Finding

SPENT_SHARE = 0.1
"""A later epoch with less than this share of the first one's steps, where none were declared, had no data left."""
SHOWN = 4


def findings(state: RunState) -> Iterator[Finding]:
    """input.ran_out."""
    by_fit: dict[int, list[Epoch]] = {}
    for epoch in state.history:
        by_fit.setdefault(epoch.fit, []).append(epoch)
    for epochs in by_fit.values():
        short = [e for e in epochs if _short(e, epochs)]
        if short:
            yield _ran_out(state, epochs, short)
            return


def _short(epoch: Epoch, epochs: list[Epoch]) -> bool:
    """Whether it ended for want of data: a fit that is asked to stop, or that fails, ends its last epoch early, too."""
    if epoch.steps is None or epoch.stopped is not False:
        return False
    if epoch.planned is not None:
        return epoch.steps < epoch.planned
    return epoch is not epochs[0] and epoch.steps < SPENT_SHARE * (epochs[0].steps or 0)


def _ran_out(state: RunState, epochs: list[Epoch], short: list[Epoch]) -> Finding:
    first = short[0]
    wanted = first.planned or epochs[0].steps or 0
    empty = sum(1 for e in short if not e.steps)
    most = max(e.steps or 0 for e in epochs)
    generator = state.dataset is None or state.dataset.kind != "tf.data"
    if generator and first.planned is None:
        step = "Let the generator begin anew each epoch (`while True:` around its loop, and steps_per_epoch)."
    elif generator:
        step = "Make the generator endless (`while True:` around its loop), or give as many steps as it has."
    elif len(short) == len(epochs):
        step = (
            f"Leave steps_per_epoch out: an epoch is then the whole data set, {most} batches; or end it with .repeat()."
        )
    else:
        step = "End the data set with .repeat(): an epoch then takes its steps from wherever the last one ended."
    yielded = ", ".join(f"{e.epoch}: {e.steps} of {e.planned or wanted}" for e in short[:SHOWN])
    return Finding(
        id="input.ran_out",
        severity="warning",
        title=f"The input runs out: epoch {first.epoch} ended after {first.steps} of {wanted} steps",
        lines=[
            f"{len(short)} of {len(epochs)} epochs are short" + (f", {empty} of them without a step" if empty else ""),
            f"steps of epoch {yielded}" + (" …" if len(short) > SHOWN else ""),
            "Keras warns once, and its progress bar shows the planned number all the same",
        ],
        next=step,
        evidence={
            "epochs": len(epochs),
            "short_epochs": len(short),
            "empty_epochs": empty,
            "planned_steps": first.planned,
            "first_short": {"epoch": first.epoch, "steps": first.steps},
            "most_steps": most,
        },
    )
