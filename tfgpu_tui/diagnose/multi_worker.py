"""Family F: Keras 3 can't train over several workers by tf.distribute (pure)."""

from __future__ import annotations

from collections.abc import Iterator

from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose.error_words import headline, place
from tfgpu_tui.diagnose.finding import Finding

STRATEGIES = ("CollectiveAllReduceStrategy", "_CollectiveAllReduceStrategyExperimental")
"""Classes behind tf.distribute.MultiWorkerMirroredStrategy (tensorflow/python/distribute/
collective_all_reduce_strategy.py, TensorFlow 2.15 to 2.21)."""


def findings(state: RunState) -> Iterator[Finding]:
    """run.multi_worker_keras3: in place of run.failed, for it is why."""
    dataset, error = state.dataset, state.error or next(iter(state.child_errors), None)
    if state.ended is None or error is None or dataset is None or state.train.steps:
        return
    workers = dataset.strategy_workers or 1
    if dataset.strategy not in STRATEGIES or workers < 2 or state.environment.keras_flavour != "keras3":
        return
    keras = state.environment.keras
    yield Finding(
        id="run.multi_worker_keras3",
        severity="critical",
        title=f"Keras {keras or 3} can't fit() over {workers} workers: it failed before its first step",
        lines=[
            *filter(None, [place(error, state.places)]),
            headline(error.exception, error.message),
            "MultiWorkerMirroredStrategy works with an own loop, with tf_keras, and with fit() on one worker",
        ],
        next=(
            "Train with Keras 2: pip install tf_keras, and export TF_USE_LEGACY_KERAS=1 for all workers "
            "(tf.keras is then tf_keras). Or write the loop with strategy.run."
        ),
        evidence={
            "strategy": dataset.strategy,
            "workers": workers,
            "keras": keras,
            "exception": error.exception,
            "message": error.message,
            "file": error.file,
            "line": error.line,
        },
    )
